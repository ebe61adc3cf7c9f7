"""`hummingbird download`: fetch released checkpoints from their authors, under their licences."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from ..terminal import print_line

EPILOG = """\
examples:
  hummingbird download                      list all models, with sizes and licences
  hummingbird download hummingbird-0.7b --to models --accept-licence

An interrupted download resumes where it stopped, and the file is verified. HF_ENDPOINT, HF_TOKEN
and HF_HUB_OFFLINE work as in huggingface_hub.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird download`."""
    parser.epilog = EPILOG
    parser.add_argument("name", nargs="?", help="model to download; without it, list all models")
    parser.add_argument("--to", type=Path, default=Path(), metavar="FOLDER", help="destination")
    parser.add_argument(
        "--accept-licence",
        action="store_true",
        help="confirm that you have read the licence and agree to it",
    )


def run(args: argparse.Namespace) -> None:
    """List the catalog, or download one entry after showing its size and licence."""
    from ..hub.download import BY_HAND, CATALOG, download, plan_download

    if args.name is None:
        for name in CATALOG:
            print_line(plan_download(name).describe())
        for name, how in BY_HAND.items():
            print_line(f"{name}: {how}")
        return
    plan = plan_download(args.name, args.to)
    if not args.accept_licence:
        raise InputError(f"{plan.describe()}; add --accept-licence if you agree to it")
    print_line(plan.describe())
    path = download(args.name, args.to, accept_licence=True)
    print_line(f"wrote {path}; next: hummingbird convert {path} {args.name}.safetensors")
