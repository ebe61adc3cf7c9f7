"""`hummingbird doctor`: report what this machine has and what it can run."""

from __future__ import annotations

import argparse
import json

from ..reporting import report_lines
from ..terminal import print_text

EPILOG = """\
examples:
  hummingbird doctor
  hummingbird doctor --json     for a bug report or a program
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird doctor`."""
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print JSON, with sizes in bytes")


def run(args: argparse.Namespace) -> None:
    """Print the report; its last line, `problems`, lists everything that would stop a run."""
    from ..doctor import diagnose, for_people

    found = diagnose()
    print_text(
        json.dumps(found, indent=2) if args.json else "\n".join(report_lines(for_people(found)))
    )
