"""`hummingbird info`: show the contents of a checkpoint."""

from __future__ import annotations

import argparse
import json

from ..reporting import report_lines
from ..terminal import print_text

EPILOG = """\
examples:
  hummingbird info hummingbird-07b.safetensors
  hummingbird info hummingbird-07b.safetensors --json
  hummingbird info nano
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird info`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "file", help="a checkpoint, converted or not, or a LoRA; nano and nano-teacher are built in"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    """Print the file's preset, parameter counts, dtypes and metadata."""
    from ..checkpoints.info import checkpoint_info
    from ..hub.local import BUILT_IN_MODELS, resolve_model

    is_built_in = args.file in BUILT_IN_MODELS
    info = checkpoint_info(resolve_model(args.file) if is_built_in else args.file)
    print_text(json.dumps(info, indent=2) if args.json else "\n".join(report_lines(info)))
