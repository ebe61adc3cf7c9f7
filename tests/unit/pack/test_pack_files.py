"""The files of the pack that are not code: languages, help, what is published."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from support.pack_imports import imported_packages
from support.paths import ROOT

from hummingbird_core.vqa import Score, Thresholds, find_defects
from tools.comfy_install import left_out_of_the_pack
from tools.pack_texts import HEADINGS, help_page, with_tables

SNAPSHOT = json.loads((ROOT / "tests/comfy/data/nodes.json").read_text(encoding="utf-8"))
TRANSLATED = ("ru", "zh", "ja")
LANGUAGES = ("en", *TRANSLATED)
# ComfyUI's own modules, and what every ComfyUI installs: a pack must never touch these.
COMFYUIS_MODULES = {
    *("comfy", "comfy_api", "comfy_execution", "comfyui_version", "folder_paths"),
    *("latent_preview", "node_helpers", "server"),
}
COMFYUIS_PACKAGES = {
    *("torch", "numpy", "transformers", "tokenizers", "einops", "safetensors", "PIL", "tqdm"),
    *("psutil", "av"),
    "huggingface_hub",  # of transformers
    *("jinja2", "filelock"),  # of torch
}
# Reached by imports inside functions that no node calls: VAE, video files and charts of the core.
OF_THE_LIBRARY = {"diffusers", "imageio_ffmpeg", "matplotlib"}
# As the registry's scanner looks for them; methods such as `model.eval()` are something else.
FLAGGED = (
    r"(?<![\w.])(eval|exec|__import__)\(|os\.(system|popen)|import subprocess|subprocess\."
    r"|pickle\.loads?\(|torch\.load\((?![^)]*weights_only=True)|base64\.b64decode"
)


def _texts(language: str, file: str = "nodeDefs") -> dict:
    return json.loads((ROOT / "locales" / language / f"{file}.json").read_text(encoding="utf-8"))


def _flat(texts: dict, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Every text by its place."""
    found = {}
    for key, value in texts.items():
        inner = _flat(value, (*path, key)) if isinstance(value, dict) else {(*path, key): value}
        found.update(inner)
    return found


# --- languages -----------------------------------------------------------------------------------


def test_the_english_texts_name_every_node_input_and_output():
    english = _texts("en")
    assert set(english) == set(SNAPSHOT)
    for node, frozen in SNAPSHOT.items():
        assert english[node]["display_name"] == frozen["display_name"]
        assert set(english[node]["inputs"]) == set(frozen["inputs"])
        names = [output["name"] for output in english[node]["outputs"].values()]
        assert names == [name for name, _ in frozen["outputs"]]


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("file", ["nodeDefs", "main"])
def test_no_translation_is_missing_or_left_over(language, file):
    english, translated = _flat(_texts("en", file)), _flat(_texts(language, file))
    assert set(translated) == set(english)
    assert all(text.strip() for text in translated.values())


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_are_translated_and_keep_numbers_and_folders(language):
    english, translated = _flat(_texts("en")), _flat(_texts(language))
    for place, text in english.items():
        if place[-1] == "name":
            continue
        assert translated[place] != text, place
        exact = re.findall(r"\d[\d.]*\d|\d|models/\w+|\w+_\w+\.pt|`[^`]+`", text)
        missing = [part for part in exact if part not in translated[place]]
        assert not missing, (place, missing)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_has_a_character_that_means_something_to_the_front_end(language):
    """Its message format reads these as placeholders, links and plurals."""
    for place, text in _flat(_texts(language)).items():
        assert not re.search(r"[{}@|]", text), place


@pytest.mark.parametrize("language", TRANSLATED)
def test_placeholders_are_the_same_in_every_language(language):
    english, translated = _flat(_texts("en", "main")), _flat(_texts(language, "main"))
    for place, text in english.items():
        assert set(re.findall(r"{\w+}", translated[place])) == set(re.findall(r"{\w+}", text))


# --- front end -----------------------------------------------------------------------------------


def test_every_text_of_the_extension_exists_and_is_used():
    script = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "web").glob("*.js"))
    measures = set(re.findall(r'{ name: "(\w+)"', script))
    # The last one is not of a video alone, but of video and prompt.
    assert measures <= {field.name for field in fields(Score)} | {"agreement"}
    used = set(re.findall(r'text\("(\w+)"', script)) | measures | _fault_texts()
    assert used == set(_texts("en", "main")["hummingbird"])


def test_a_bar_is_in_the_warning_colour_from_the_limit_of_its_defect_on():
    script = (ROOT / "web/views.js").read_text(encoding="utf-8")
    rows = re.findall(r'{ name: "(\w+)", most: [\d.]+, at(?:Most|Least): ([\d.]+) }', script)
    limits = Thresholds()
    assert {name for name, _ in rows} == {"motion_smoothness", "flicker", "blur", "blockiness"}
    assert all(getattr(limits, name) == float(limit) for name, limit in rows)


def _fault_texts() -> set[str]:
    """The name of the text of every fault that there is."""
    bad = {field.name: 1.0 for field in fields(Score)} | {"motion_smoothness": 0.0}
    dark = dict.fromkeys(("brightness", "contrast"), 0.0)
    return {f"fault_{name}" for name in (*find_defects(bad), *find_defects(dark))}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node", SNAPSHOT)
def test_every_node_has_a_help_page_with_current_tables(node, language):
    page = help_page(node, language).read_text(encoding="utf-8")
    text = _texts(language)[node]
    assert page.startswith(f"# {text['display_name']}\n")
    assert page == with_tables(page, text, language), "run tools/pack_texts.py"


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("node", SNAPSHOT)
def test_translated_help_says_as_much_as_the_english(node, language):
    """Both have as many paragraphs, list entries and table rows, the same code and numbers."""
    english, translated = (_prose(node, name) for name in ("en", language))
    for pattern in (r"^- ", r"^\|", r"\n\n", r"`[^`]+`", r"\d[\d.]*\d"):
        found = [sorted(re.findall(pattern, t, re.MULTILINE)) for t in (translated, english)]
        assert found[0] == found[1], pattern


def _prose(node: str, language: str) -> str:
    """A help page without title and tables."""
    page = help_page(node, language).read_text(encoding="utf-8")
    return page.partition(f"\n## {HEADINGS[language][0]}\n")[0].partition("\n")[2]


def test_no_help_page_is_left_over():
    pages = {path for path in (ROOT / "web/docs").rglob("*") if path.is_file()}
    assert pages == {help_page(node, language) for node in SNAPSHOT for language in LANGUAGES}


# --- what is published ---------------------------------------------------------------------------


def test_requirements_are_what_nodes_import_and_comfyui_lacks():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", line) for line in required)
    names = {line.partition(">=")[0] for line in required}
    imported = imported_packages()
    assert set(imported) - COMFYUIS_MODULES - COMFYUIS_PACKAGES - OF_THE_LIBRARY == names
    assert set(required) <= set(_dependencies())


def test_no_node_imports_what_only_the_library_needs():
    found = imported_packages()
    assert found.keys() >= OF_THE_LIBRARY, "an exception that is no longer needed"
    assert not [
        file for package in OF_THE_LIBRARY for file in found[package] if file.startswith("nodes/")
    ]


def _dependencies() -> list[str]:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert block
    return re.findall(r'"([^"]+)"', block[1])


def _published() -> list[Path]:
    """The Python files that .comfyignore leaves in the published pack."""
    left_out = left_out_of_the_pack()
    assert all(left_out.values()), "a line that is about nothing"
    places = set().union(*left_out.values())
    names = ["__init__.py", "nodes", "hummingbird_core"]
    files = [file for name in names for file in _python_files(ROOT / name)]
    return [file for file in files if not places & {file, *file.parents}]


def _python_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def test_nothing_published_has_a_pattern_that_the_registry_flags():
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in _published()
        for match in re.finditer(FLAGGED, file.read_text(encoding="utf-8"))
    ]
    assert not found


def test_nodes_need_nothing_that_is_not_published():
    published = {file.relative_to(ROOT).as_posix() for file in _published()}
    nodes = [path for path in published if path.startswith("nodes/")]
    for path in nodes:
        text = (ROOT / path).read_text(encoding="utf-8")
        for module in re.findall(r"^from \.+(hummingbird_core[.\w]*) import", text, re.MULTILINE):
            file = module.replace(".", "/")
            assert {f"{file}.py", f"{file}/__init__.py"} & published, (path, module)


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    """A folder with the published Python files of the core."""
    folder = tmp_path_factory.mktemp("pack")
    for file in _published():
        copy = folder / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("command", ["curate --help", "train lora clips", "evaluate nano"])
def test_a_command_that_is_not_published_says_so_in_a_line(pack, command):
    done = _in(pack, command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hummingbird: error: the ComfyUI pack leaves out")
    assert done.stderr.count("\n") == 1


def test_a_command_that_needs_a_package_of_the_library_says_so_in_a_line(tmp_path):
    command = f"generate circle -o {(tmp_path / 'circle.mp4').as_posix()}"
    done = _in(ROOT, command, before="sys.modules['diffusers'] = None")
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs the package diffusers: pip install the repository" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["generate", "enhance", "score", "convert", "download", "info"])
def test_the_other_commands_work_in_the_published_pack(pack, command):
    done = _in(pack, f"{command} --help")
    assert (done.returncode, done.stderr) == (0, "")


def _in(pack: Path, command: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in the pack alone: not in this repository, where pip may have put a link."""
    code = (
        f"import sys; {before or None};"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()];"
        "from hummingbird_core.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        cwd=pack,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
