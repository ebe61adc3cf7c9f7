"""`hummingbird train` and `hummingbird evaluate`: which kinds of each there are."""

from __future__ import annotations

import argparse

from ..errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of a command that stands for several."""
    command = parser.prog.split()[-1]
    parser.epilog = _table(command)
    parser.add_argument("kind", nargs="?", help="one of those below")
    parser.set_defaults(command=command)


def run(args: argparse.Namespace) -> None:
    """List the kinds; the command line itself runs those that exist."""
    if args.kind is not None:
        names = ", ".join(name.split()[1] for name in _kinds(args.command))
        raise InputError(f"got {args.command} {args.kind!r}, expected one of {names}: choose one")
    print(_table(args.command))


def _kinds(command: str) -> dict[str, str]:
    """Names of the commands of this kind -> what they do."""
    from . import COMMANDS

    return {name: text for name, (_, text) in COMMANDS.items() if name.startswith(f"{command} ")}


def _table(command: str) -> str:
    kinds = _kinds(command)
    width = max(map(len, kinds))
    lines = (f"  hummingbird {name:{width}}  {text}" for name, text in kinds.items())
    return "\n".join([f"kinds of {command}, each with --help:", *lines])
