"""Prompt files as people have them: every line is one prompt, or the file is refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hummingbird_core.errors import InputError
from hummingbird_core.generation.jobs import VideoConfig, read_prompt_file

TWO = ["a red circle moves right", "a blue square drifts up"]


def prompts_of(path: Path, content: str | bytes) -> list[str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [settings.prompt for settings, _ in read_prompt_file(path, VideoConfig(""))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "\n".join(TWO)),
        ("p.TXT", "\r\n\r\n".join(TWO) + "\r\n"),
        ("p", "\r".join(TWO)),
        ("p.txt", "\ufeff" + "\n\ufeff".join(TWO)),  # two files of Windows, joined
        ("p.txt", "\n".join(TWO).encode("utf-16")),
        ("p.txt", ("\ufeff" + "\r\n".join(TWO)).encode("utf-16-be")),
        ("p.jsonl", "\n".join(f'{{"prompt": "{text}"}}' for text in TWO)),
        ("p.jsonl", "\n".join(f'{{"prompt": "{text}"}}' for text in TWO).encode("utf-16")),
        ("p", "\n".join(f'{{"prompt": "{text}"}}' for text in TWO)),
    ],
)
def test_ways_to_write_two_prompts(tmp_path, name, content):
    assert prompts_of(tmp_path / name, content) == TWO


@pytest.mark.parametrize(
    "inner", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]
)
def test_separators_of_unicode_end_no_prompt(tmp_path, inner):
    prompt = f"a red circle{inner}moves right"
    assert prompts_of(tmp_path / "p.txt", f"{prompt}\n{TWO[1]}\n") == [prompt, TWO[1]]
    if ord(inner) > 31:  # JSON escapes the others
        content = f'{{"prompt": "{prompt}", "seed": 1}}\n{{"prompt": "{TWO[1]}"}}\n'
        assert prompts_of(tmp_path / "p.jsonl", content) == [prompt, TWO[1]]


PRETTY = '[\n  {"prompt": "a red circle"},\n  {"prompt": "a blue square"}\n]\n'


@pytest.mark.parametrize("name", ["p.json", "p.csv", "p.yaml", "p.yml", "p.md", "p.tsv", "p.JSON"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"expected \.txt, .* or \.jsonl"):
        prompts_of(tmp_path / name, PRETTY)


@pytest.mark.parametrize(
    "content",
    [
        PRETTY,
        '{\n  "prompts": ["a red circle"]\n}',
        '["a red circle", "a blue square"]',
        '[{"prompt": "a red circle"}]',
        '[["a red circle"]]',
        '\n\n  {"prompt": "a red circle"}\n',
    ],
)
def test_json_in_a_text_file_is_refused(tmp_path, content):
    with pytest.raises(InputError, match=r"p\.txt begins like JSON"):
        prompts_of(tmp_path / "p.txt", content)


@pytest.mark.parametrize(
    "prompt", ["[cinematic] a fox", "((fox)), [[snow]]", "{{fox}} in snow", "{red|blue} fox"]
)
def test_brackets_of_emphasis_are_a_prompt(tmp_path, prompt):
    assert prompts_of(tmp_path / "p.txt", prompt) == [prompt]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("p.txt", "café".encode("latin-1"), "not UTF-8"),
        ("p.txt", "a fox".encode("utf-16-le"), "NUL"),
        ("p.txt", b"", "is empty"),
        ("p.txt", "\ufeff\n \u200b\n", "is empty"),
        ("p.jsonl", "[" * 100_000, "line 1 is JSON that is nested too deeply"),
        ("p.jsonl", PRETTY, "line 1 is not JSON"),
        ("p.jsonl", '{"prompt": "a", "prompt": "b"}', "line 1 has the key 'prompt' twice"),
        ("p.jsonl", '{"prompt": "a", "fps": 1e999}', "line 1: fps is inf"),
        ("p.jsonl", '{"prompt": "a", "fps": NaN}', "line 1: fps is nan"),
        ("p.jsonl", '{"prompt": "a", "fps": 1%s}' % ("0" * 400), "line 1: fps is 10"),
        ("p.jsonl", '{"prompt": "a", "seed": 1%s}' % ("0" * 400), "line 1: seed is 10"),
        ("p.jsonl", '{"prompt": "a", "seed": %s}' % ("[" * 50 + "]" * 50), "seed is list"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path, name, content, reason):
    with pytest.raises(InputError, match=reason) as error:
        prompts_of(tmp_path / name, content)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


READ = """
import sys
from pathlib import Path
from hummingbird_core.generation.jobs import VideoConfig, read_prompt_file
print([(s.prompt, o) for s, o in read_prompt_file(Path(sys.argv[1]), VideoConfig(""))])
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no /dev/stdin")
@pytest.mark.parametrize("suffix", ["txt", "jsonl"])
def test_a_pipe_is_a_prompt_file(suffix):
    lines = TWO if suffix == "txt" else [f'{{"prompt": "{text}"}}' for text in TWO]
    command = f"cat | {sys.executable} -c '{READ}' /dev/stdin"
    found = subprocess.run(
        ["sh", "-c", command], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str([(t, f"stdin line {n}") for n, t in enumerate(TWO, 1)])
