"""`hummingbird info`: show the contents of a checkpoint."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..reporting import report_lines
from ..terminal import print_text

EPILOG = """\
examples:
  hummingbird info hummingbird-07b.safetensors
  hummingbird info hummingbird-07b.safetensors --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird info`."""
    parser.epilog = EPILOG
    parser.add_argument("file", type=Path, help="a checkpoint, converted or not")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    """Print the file's preset, parameter counts, dtypes and metadata."""
    from ..checkpoints.info import checkpoint_info

    info = checkpoint_info(args.file)
    print_text(json.dumps(info, indent=2) if args.json else "\n".join(report_lines(info)))
