"""Options that the training commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..training.recipe import Recipe

SHORT = {  # option -> recipe key
    "steps": "training.steps",
    "batch": "training.batch",
    "learning_rate": "training.learning_rate",
    "precision": "training.precision",
}


def add_stage(parser: argparse.ArgumentParser, recipe: str, student: str) -> None:
    """Options of a distillation stage; `recipe` is the default one, `student` says what it is."""
    parser.add_argument(
        "--teacher",
        required=True,
        metavar="FILE",
        help="a checkpoint with VAE and text encoder, or nano-teacher",
    )
    parser.add_argument("--student", required=True, metavar="FILE", help=student)
    parser.add_argument(
        "--data",
        required=True,
        metavar="SOURCE",
        help="clips with captions: a folder, table, shards, or what `hummingbird curate` made; "
        "or `nano`, the built-in model's world",
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FOLDER", help="of the run"
    )
    parser.add_argument(
        "--latents",
        type=Path,
        metavar="FOLDER",
        help="keeps the clips' latents, made at the first start (default: in the output); runs on "
        "the same clips can share it",
    )
    _add_recipe(parser, recipe)


def _add_recipe(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--recipe", default=default, metavar="NAME", help=f"or a YAML file (default: {default})"
    )
    group = parser.add_argument_group("instead of the recipe's values")
    for option in SHORT:
        group.add_argument(f"--{option.replace('_', '-')}", metavar="VALUE")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any value, such as objectives.consistency.weight=0.5; may be repeated",
    )


def stage_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe that was asked for, with its changes."""
    from ..training.recipe import read_recipe

    given = {key: getattr(args, option) for option, key in SHORT.items()}
    changes = [f"{key}={value}" for key, value in given.items() if value is not None]
    return read_recipe(args.recipe, [*changes, *args.set])
