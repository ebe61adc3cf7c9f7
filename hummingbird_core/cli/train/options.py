"""Options that the training commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...training.distillation.recipe_files import recipe_names

if TYPE_CHECKING:
    from ...training.distillation.recipe import Recipe

# Option -> help; each replaces the recipe's key `training.OPTION`.
SHORT = {
    "steps": "optimizer steps",
    "batch": "clips per step, over all processes",
    "learning_rate": "peak learning rate",
    "precision": "fp32, bf16 or fp16",
}


def add_stage(parser: argparse.ArgumentParser, student: str) -> None:
    """Add the options of a distillation stage; `student` is the help text of --student."""
    parser.add_argument(
        "--teacher",
        required=True,
        metavar="FILE",
        help="a checkpoint with VAE and text encoder, or nano-teacher",
    )
    parser.add_argument("--student", required=True, metavar="FILE", help=student)
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help="clips with captions: a folder, table, shards, or an output of `hummingbird curate`; "
        "`nano`, the built-in model's synthetic dataset; or MODULE:NAME (default: the recipe's "
        "data.source)",
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FOLDER", help="folder of the run"
    )
    parser.add_argument(
        "--latents",
        type=Path,
        metavar="FOLDER",
        help="cache of the clips' latents, computed once (default: in the output); runs on the "
        "same clips can share it",
    )
    add_tracker(parser)
    _add_recipe(parser)


def add_tracker(parser: argparse.ArgumentParser) -> None:
    """Add --tracker."""
    parser.add_argument(
        "--tracker",
        metavar="NAME",
        help="also report to wandb, trackio or mlflow, which must be installed, or to MODULE:NAME, "
        "a class derived from accelerate's GeneralTracker",
    )


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help=f"one of {', '.join(recipe_names())} (see `hummingbird train recipe NAME`), or a YAML "
        "file (default: this stage's recipe for nano or 0.7b, depending on the teacher)",
    )
    group = parser.add_argument_group("values that replace those of the recipe")
    for option, meaning in SHORT.items():
        group.add_argument(f"--{option.replace('_', '-')}", metavar="VALUE", help=meaning)
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any value, e.g. objectives.consistency.weight=0.5; may be repeated",
    )


def stage_recipe(args: argparse.Namespace, stage: str) -> Recipe:
    """Return the chosen recipe, or the stage's usual one, with the values of `args`."""
    from ...training.distillation.recipe import read_recipe

    given = {f"training.{option}": getattr(args, option) for option in SHORT}
    changes = [f"{key}={value}" for key, value in given.items() if value is not None]
    return read_recipe(args.recipe or _usual_recipe(args.teacher, stage), [*changes, *args.set])


def _usual_recipe(teacher: str, stage: str) -> str:
    from ...checkpoints.layout import component_configs, split_components
    from ...nano.latents import has_image_latents
    from ...training.distillation.stage import find_teacher
    from ...weights.tensor_files import open_tensors

    file = open_tensors(find_teacher(teacher))
    is_nano = has_image_latents(component_configs(file, split_components(file.tensors)).vae)
    return f"nano-{stage}" if is_nano else f"{stage}-0.7b"
