"""Run the unit tests with the oldest version of every dependency that pyproject.toml allows.

    python3 tools/oldest_versions.py --python python3.10 -o benchmarks/results/oldest-versions
    python3 tools/oldest_versions.py --python python3.13 --newest

Makes an environment of that Python in a temporary folder, or in --target, which is kept, so that a
second run installs nothing. Standard library only, Python 3.11 or newer to run it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tomllib

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("train", "curate", "eval", "dev")  # ray[data] is part of dev
TOOLS = ("ruff", "mypy", "pre-commit")  # of developers: no test imports them
REQUIREMENT = re.compile(r"([\w.-]+)(\[[\w,]+\])?>=([\w.]+)(; *(.*))?")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="the Python to test on")
    parser.add_argument("--newest", action="store_true", help="the newest versions instead")
    parser.add_argument("--target", type=Path, help="the environment's folder, kept")
    parser.add_argument("--tests", nargs="+", default=["tests/unit"], help="files or folders")
    parser.add_argument("-o", "--output", type=Path, help="record, without a suffix")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        target = args.target or Path(folder) / "venv"
        python = make_environment(args.python, target, newest=args.newest)
        code, summary = run_tests(python, args.tests)
        found = {"newest": args.newest, "tests": args.tests, "result": summary}
        found |= versions(python)
    if args.output:
        record(args.output, found)
    return code


def make_environment(base: str, target: Path, *, newest: bool) -> Path:
    """Install the package with its extras into `target`; return that environment's Python."""
    python = target / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        subprocess.run([base, "-m", "venv", target], check=True)
    wanted = [] if newest else [f"{name}{extra}=={at}" for name, extra, at in lower_bounds()]
    package = f"{ROOT}[{','.join(EXTRAS)}]"
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted, "-e", package], check=True)
    return python


def lower_bounds() -> Iterable[tuple[str, str, str]]:
    """Yield name, extra and oldest version of every dependency of the package and its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name in EXTRAS for line in project["optional-dependencies"][name]]
    hosts = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [*project["dependencies"], *extras, *(x for x in hosts if x and x[0] != "#")]
    for line in dict.fromkeys(lines):
        match = REQUIREMENT.fullmatch(line)
        if match is None:
            raise ValueError(f"got {line!r} in pyproject.toml, expected NAME>=VERSION")
        if match[1] not in TOOLS:
            yield match[1], match[2] or "", match[3]


def run_tests(python: Path, tests: list[str]) -> tuple[int, str]:
    """Run pytest; return its exit code and its last line."""
    command = [python, "-m", "pytest", "-q", *tests]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        last = ""
        for line in process.stdout or ():
            sys.stdout.write(line)
            last = line.strip() or last
    return process.returncode, re.sub(r" in [\d.]+s.*", "", last.strip("= "))


def versions(python: Path) -> dict[str, Any]:
    """Return the versions of Python and of each direct dependency in the environment."""
    names = sorted({name for name, *_ in lower_bounds()})
    code = (
        "import json, sys, importlib.metadata as m\n"
        "print(json.dumps([sys.version.split()[0], {n: m.version(n) for n in sys.argv[1:]}]))"
    )
    printed = subprocess.run([python, "-c", code, *names], check=True, capture_output=True)
    version, packages = json.loads(printed.stdout)
    return {"python": version, "packages": packages}


def record(output: Path, found: dict[str, Any]) -> None:
    """Write what was found as OUTPUT.json and as a table, OUTPUT.md."""
    output.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    kind = "newest" if found["newest"] else "oldest"
    lines = [
        f"# Unit tests with the {kind} versions",
        "",
        f"Python {found['python']}; `pytest {' '.join(found['tests'])}`: {found['result']}.",
        "",
        "| package | version |",
        "|---|---|",
        *(f"| {name} | {version} |" for name, version in found["packages"].items()),
    ]
    output.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
