"""`hummingbird train recipe`: print a built-in recipe, to read or to start your own from."""

from __future__ import annotations

import argparse

from ...terminal import print_text
from ...training.distillation.recipe_files import recipe_names, recipe_text

EPILOG = """\
examples:
  hummingbird train recipe tune-0.7b
  hummingbird train recipe nano-distil > mine.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train recipe`."""
    parser.epilog = EPILOG
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(recipe_names())}")


def run(args: argparse.Namespace) -> None:
    """Print the recipe with its comments."""
    text, _ = recipe_text(args.name)
    print_text(text.rstrip("\n"))
