"""The command line: `hummingbird COMMAND ...` or `python -m hummingbird_core.cli COMMAND ...`.

Each command is a module with `add_arguments(parser)` and `run(args)`. Its parser imports it when
the command is chosen, so `--help` is instant and a broken optional package only stops the commands
that need it.

Exit codes: 0 done, 2 bad input (one line on stderr says what to do), 130 interrupted by Ctrl-C,
141 the reader of the output closed its pipe, such as `head`.
"""

from __future__ import annotations

import argparse
import importlib
import logging
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import HummingbirdError, MissingPackageError, machine_advice, memory_advice, printable
from ..terminal import (
    ClosedOutputError,
    abandon_output,
    flush_output,
    one_line_record,
    prepare_streams,
    print_error,
    print_line,
    print_text,
)
from .signals import TerminatedError, terminated_like_ctrl_c

# Command -> its module in this package, or None for a group of commands, and a summary.
COMMANDS: dict[str, tuple[str | None, str]] = {
    "generate": ("generate", "turn a prompt, or a file of prompts, into videos"),
    "enhance": ("enhance", "enhance prompts, built in or by a language model"),
    "score": ("score", "score the quality of videos and list their defects"),
    "curate": ("curate", "build a training dataset from raw videos, with a report"),
    "convert": ("convert", "convert a released checkpoint into one safe, smaller file"),
    "export": ("export", "export a model to ONNX or OpenVINO, to run without PyTorch"),
    "download": ("download", "download a released checkpoint from its authors"),
    "info": ("info", "show the contents of a checkpoint without loading it"),
    "doctor": ("doctor", "report what this machine has and what it can run"),
    "bench": ("bench", "measure speed and memory, and verify every output"),
    "train": (None, "train, prune, distil or fine-tune models"),
    "train nano": ("train.nano", "train the built-in model from scratch"),
    "train prune": ("train.prune", "create a student from a subset of a teacher's blocks"),
    "train rank-blocks": ("train.rank_blocks", "rank a teacher's blocks by importance"),
    "train distil": ("train.distil", "stage 1: distil a teacher into a pruned student"),
    "train tune": ("train.tune", "stage 2: consistency distillation to few steps, and rewards"),
    "train recipe": ("train.recipe", "print a built-in recipe with its comments"),
    "train decoder": ("train.tiny_decoder", "train a smaller, faster VAE decoder"),
    "train agreement": ("train.agreement", "train a learned reward of the built-in model"),
    "train lora": ("train.lora", "fine-tune a LoRA on a style or a subject"),
    "evaluate": (None, "evaluate models on benchmarks"),
    "evaluate nano": ("evaluate.nano", "measure the built-in model on held-out prompts"),
    "evaluate vbench": ("evaluate.vbench", "run the VBench benchmark: videos, scores, total"),
}

MAX_NAME = 100  # letters of a file's name in an error

EPILOG = """\
examples:
  hummingbird generate "a red circle moves right" -o circle.mp4
  hummingbird generate --prompts prompts.txt -o videos
  hummingbird doctor

`hummingbird COMMAND --help` explains a command, with examples.
"""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the layout of examples and adds defaults, except for None, False and empty lists."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_unset = action.default is None or action.default is False or action.default == []
        return action.help if is_unset else super()._get_help_string(action)


class CommandParser(argparse.ArgumentParser):
    """A parser that reports bad arguments in one line and imports its command when it is used.

    Args:
        module: the command's module, relative to this package; None for a parser whose arguments
            are added by its creator.
        **options: those of `argparse.ArgumentParser`.
    """

    def __init__(self, *, module: str | None = None, **options: Any) -> None:
        super().__init__(formatter_class=HelpFormatter, **options)
        self._module = module

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the arguments of the command's module, then parse; unknown ones are an error."""
        if self._module:
            command = importlib.import_module(f".{self._module}", package=__package__)
            self._module = None
            self.set_defaults(run=command.run)
            command.add_arguments(self)
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown

    def print_help(self, file: Any = None) -> None:
        """Print the help on the standard output; argparse would ignore a full disk."""
        print_text(self.format_help().rstrip("\n"))

    def error(self, message: str) -> NoReturn:
        """Exit with 2 and one line instead of the whole usage."""
        self.exit(2, f"hummingbird: error: {printable(message)}; see {self.prog} --help\n")


class _PrintVersion(argparse.Action):
    """Reads the version only when it is printed: the metadata of a wheel takes 40 ms."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from .. import __version__

        print_line(f"hummingbird {__version__}")
        parser.exit()


def create_parser() -> CommandParser:
    """Return the parser of the whole command line; no command is imported yet."""
    parser = CommandParser(
        prog="hummingbird", description="Small, fast text-to-video.", epilog=EPILOG
    )
    parser.add_argument(
        "--version",
        action=_PrintVersion,
        nargs=0,
        default=argparse.SUPPRESS,
        help="show program's version number and exit",
    )
    subparsers = {"": _add_subparsers(parser, "COMMAND")}
    for command, (module, summary) in COMMANDS.items():
        group, _, name = command.rpartition(" ")
        added = subparsers[group].add_parser(
            name,
            module=module,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
        )
        if module is None:
            added.epilog = f"`{added.prog} KIND --help` explains a kind, with examples."
            subparsers[command] = _add_subparsers(added, "KIND")
    return parser


def _add_subparsers(parser: CommandParser, metavar: str) -> Any:
    parser.set_defaults(run=lambda _: parser.print_help())
    return parser.add_subparsers(title=f"{metavar.lower()}s", metavar=metavar)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        The exit code.

    Raises:
        SystemExit: for `--help`, `--version` and bad arguments, as argparse does.
    """
    prepare_streams()
    _log_to_stderr()
    try:
        try:
            return _exit_code(argv)
        finally:
            flush_output()
    except ClosedOutputError as error:
        return abandon_output(error)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.addFilter(one_line_record)  # other libraries log names and answers, too
    logging.basicConfig(
        format="hummingbird: %(levelname)s: %(message)s", level=logging.WARNING, handlers=[handler]
    )


def _exit_code(argv: Sequence[str] | None) -> int:
    try:
        with terminated_like_ctrl_c():
            return _run(argv)
    except HummingbirdError as error:
        return _failed(str(error))
    except ClosedOutputError:
        raise
    except KeyboardInterrupt as error:
        print_error("hummingbird: interrupted; finished work is kept")
        return error.exit_code if isinstance(error, TerminatedError) else 130
    except Exception as error:  # the machine's faults arrive under many names
        advice = memory_advice(error) or machine_advice(error)
        if advice is None:
            raise
        return _failed(_with_file(error, advice))


def _with_file(error: Exception, advice: str) -> str:
    file = getattr(error, "filename", None)
    if file is None:
        return advice
    name = str(file)
    return f"{name if len(name) <= MAX_NAME else name[:MAX_NAME] + '...'}: {advice}"


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = create_parser().parse_args(argv)
        return args.run(args) or 0
    except ModuleNotFoundError as error:
        raise MissingPackageError(_how_to_install(error.name or str(error))) from error


def _how_to_install(module: str) -> str:
    if module.startswith(__package__.removesuffix("cli")):
        return (
            f"the ComfyUI pack leaves out what this command needs ({module}): pip install the "
            "repository for it"
        )
    return (
        f"this command needs the package {module.partition('.')[0]}: pip install the repository "
        "into an environment of your own (ComfyUI's may break by it)"
    )


def _failed(message: str) -> int:
    print_error(f"hummingbird: error: {message}")
    return 2
