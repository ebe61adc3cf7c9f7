"""`hummingbird train`: which kinds of training there are."""

from __future__ import annotations

import argparse

from ..errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train`."""
    parser.epilog = _table()
    parser.add_argument("stage", nargs="?", help="one of those below")


def run(args: argparse.Namespace) -> None:
    """List the stages; the command line itself runs those that exist."""
    if args.stage is not None:
        names = ", ".join(name.split()[1] for name in _stages())
        raise InputError(f"got training stage {args.stage!r}, expected one of {names}: choose one")
    print(_table())


def _stages() -> dict[str, str]:
    """Names of the training commands -> what they do."""
    from ..cli import COMMANDS

    return {name: text for name, (_, text) in COMMANDS.items() if name.startswith("train ")}


def _table() -> str:
    stages = _stages()
    width = max(map(len, stages))
    lines = (f"  hummingbird {name:{width}}  {text}" for name, text in stages.items())
    return "\n".join(["stages, each with --help:", *lines])
