"""The recipe few-step-0.7b on models of any size, on a CPU."""

from __future__ import annotations

from pathlib import Path

from hummingbird_core.training.data.nano_clips import NanoClips
from hummingbird_core.training.distillation.critics import make_critics
from hummingbird_core.training.distillation.predictions import Models
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.distillation.step import DistillationLoss
from hummingbird_core.training.loop.trainer import Trainer

RECIPE = "few-step-0.7b"
ON_A_CPU = "training.precision=fp32"  # no CPU computes in fp16
FRAMES = 2


def few_step_trainer(models: Models, folder: Path, *changes: str) -> Trainer:
    """Return what trains a student by the recipe in the package; adds critics to `models`."""
    recipe = read_recipe(RECIPE, [ON_A_CPU, *changes])
    models.student.gradient_checkpointing = recipe.student.gradient_checkpointing
    objectives = recipe.objectives.terms
    loss = DistillationLoss(NanoClips(FRAMES), models, objectives, recipe.noise)
    phases = make_critics(objectives, loss, recipe.training.seed)
    return Trainer("few-step", models.student, loss, recipe.training, folder, phases)
