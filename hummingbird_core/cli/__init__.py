"""The command line: `hummingbird COMMAND ...` or `python -m hummingbird_core.cli COMMAND ...`.

Each command is a module with `add_arguments(parser)` and `run(args)`. Only the module of the
command asked for is imported, so that `--help` is instant and a broken optional package stops
nothing but the command that needs it.

Exit codes: 0 done, 2 bad input (one line on stderr says what to do), 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..errors import HummingbirdError, MissingPackageError, memory_advice

# What to type -> (module in hummingbird_core, what it does).
COMMANDS = {
    "generate": ("cli.generate", "turn a prompt, or a file of prompts, into videos"),
    "enhance": ("cli.enhance", "make prompts better: built in, local model or server"),
    "score": ("cli.score", "say how good videos are, and what is wrong with them"),
    "curate": ("cli.curate", "turn a pile of videos into training shards, with a report"),
    "convert": ("cli.convert", "turn a released checkpoint into one safe, smaller file"),
    "download": ("cli.download", "fetch a released checkpoint from its authors"),
    "info": ("cli.info", "say what a checkpoint holds, without loading it"),
    "doctor": ("cli.doctor", "say what this machine has and what would run on it"),
    "bench": ("cli.bench", "measure speed and memory, never without checking the output"),
    "train": ("cli.kinds", "list the kinds of training"),
    "train nano": ("cli.train.nano", "make the built-in model again"),
    "train prune": ("cli.train.prune", "make a student of a teacher's blocks"),
    "train rank-blocks": ("cli.train.rank_blocks", "find out which blocks matter least"),
    "train distil": ("cli.train.distil", "stage 1: a student learns its teacher's noise"),
    "train tune": ("cli.train.tune", "stage 2: few steps, and rewards"),
    "train recipe": ("cli.train.recipe", "print a recipe of the package, comments and all"),
    "train decoder": ("cli.train.tiny_decoder", "make a smaller, faster VAE decoder"),
    "train lora": ("cli.train.lora", "teach a model a style or a subject"),
    "evaluate": ("cli.kinds", "list the kinds of evaluation"),
    "evaluate nano": ("nano.evaluate", "measure the built-in model on held-out prompts"),
    "evaluate vbench": ("cli.evaluate", "the VBench benchmark: videos, scores, total"),
}

EPILOG = """\
examples:
  hummingbird generate "a red circle moves right" -o circle.mp4
  hummingbird generate --prompts prompts.txt -o videos
  hummingbird doctor

`hummingbird COMMAND --help` explains a command, with examples.
"""


class _Parser(argparse.ArgumentParser):
    """Answers bad arguments with one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"hummingbird: error: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. argparse itself raises SystemExit."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="hummingbird: %(levelname)s: %(message)s", level=logging.WARNING)
    try:
        name = _command_name(arguments)
        return _run(name, arguments[len(name.split()) :]) if name else _no_command(arguments)
    except HummingbirdError as error:
        return _failed(str(error))
    except (MemoryError, RuntimeError) as error:
        advice = memory_advice(error)
        if advice is None:
            raise
        return _failed(advice)
    except KeyboardInterrupt:
        sys.stderr.write("hummingbird: interrupted; what was finished is kept\n")
        return 130


def _failed(message: str) -> int:
    sys.stderr.write(f"hummingbird: error: {message}\n")
    return 2


def _command_name(arguments: list[str]) -> str | None:
    names = (" ".join(arguments[:length]) for length in (2, 1))
    return next((name for name in names if name in COMMANDS), None)


def _run(name: str, arguments: list[str]) -> int:
    try:
        return _run_module(name, arguments)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(__package__.removesuffix("cli")):
            raise
        raise MissingPackageError(
            f"the ComfyUI pack leaves out what `hummingbird {name}` needs: pip install the "
            "repository for it"
        ) from error


def _run_module(name: str, arguments: list[str]) -> int:
    module_name, summary = COMMANDS[name]
    module = importlib.import_module(f"..{module_name}", package=__package__)
    parser = _Parser(
        prog=f"hummingbird {name}",
        description=f"{summary[0].upper()}{summary[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return module.run(parser.parse_args(arguments)) or 0


def _no_command(arguments: list[str]) -> int:
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    parser = _Parser(
        prog="hummingbird",
        usage="hummingbird COMMAND ...",
        description=f"Small, fast text-to-video.\n\ncommands:\n{table}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hummingbird {__version__}")
    unknown = parser.parse_known_args(arguments)[1]
    if unknown:
        known = ", ".join(COMMANDS)
        parser.error(f"there is no command {' '.join(unknown[:2])!r}, expected one of: {known}")
    parser.print_help()
    return 0
