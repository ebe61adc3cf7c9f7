"""Stage 2: a distilled student is tuned to few sampling steps and to reward models.

Consistency distillation with reward feedback (T2V-Turbo, arXiv 2405.18750), or other objectives of
the recipe, trained as a LoRA on every layer or in all weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ... import __version__
from ...devices import DTYPES
from ...lora.layers import lora_from_peft, new_lora
from ...lora.merge import LoRA, merge_lora, save_lora
from ...lora.metadata import TrainingFacts, identify_base, training_metadata
from ...unet.model import HummingbirdUNet
from ..loop.distributed import distributed_state
from ..loop.modules import add_lora
from ..loop.student_file import write_student
from .recipe import LoRAConfig, Recipe, recipe_values
from .stage import Teacher, clip_source, load_student, load_teacher, train_student


@dataclass(frozen=True)
class Tuned:
    """The files a run has written, or None.

    Attributes:
        lora: for ComfyUI's own LoRA nodes.
        peft: folder for `peft` and `diffusers`.
        model: the whole student, with the LoRA merged if one was trained.
    """

    lora: Path | None
    peft: Path | None
    model: Path | None


def tune(
    teacher: str | Path,
    student: str | Path,
    data: str | Path | None,
    recipe: Recipe,
    folder: Path,
    latents: Path | None = None,
    *,
    merge: bool = False,
    tracker: str = "",
) -> Tuned:
    """Train a LoRA, or without `recipe.lora` all weights; resume where an earlier call stopped.

    Args:
        teacher: a checkpoint with VAE and text encoder, or "nano-teacher".
        student: a file with a U-Net, such as the output of stage 1, or a preset, see `distil`.
        data: source of clips, see `training.data.registry.open_source`; None: the recipe's.
        recipe: objectives and settings.
        folder: of the run and its results.
        latents: folder of the clips' latents, which runs can share; default: in `folder`.
        merge: whether to write the whole student too, with its LoRA merged.
        tracker: "wandb", "trackio", "mlflow" or `MODULE:NAME`, see `loop.tracking.Watch`.

    Raises:
        InputError: the recipe or the clips are unusable.
        CheckpointError: a file is unusable.
        NumericalError: training diverged.
        KeyboardInterrupt: Ctrl-C; the state was saved.
    """
    data = clip_source(data, recipe)
    models = load_teacher(teacher)
    fresh = _new_student(student, models, recipe)

    def write(weights: dict[str, Tensor], path: Path, step: int) -> None:
        result = _with_weights(student, models, recipe, weights)
        if recipe.lora:
            save_lora(_lora_of(result, student, recipe, step), path, overwrite=True)
        else:
            write_student(result, models.file, path)

    trained = train_student(
        "tune", fresh, student, models, data, recipe, folder, latents, write, tracker
    )
    files = Tuned(
        lora=folder / "lora.safetensors" if recipe.lora else None,
        peft=folder / "lora-peft" if recipe.lora else None,
        model=folder / "student.safetensors" if merge or not recipe.lora else None,
    )
    if distributed_state().is_main_process:
        _write(files, _with_weights(student, models, recipe, trained), student, models, recipe)
    return files


def _new_student(name: str | Path, teacher: Teacher, recipe: Recipe) -> HummingbirdUNet:
    """Load the student before training, with the recipe's LoRA on frozen weights."""
    student = load_student(name, teacher, recipe)
    if recipe.lora is None:
        return student.requires_grad_(True)
    generator = torch.Generator().manual_seed(recipe.training.seed)
    lora = new_lora(student, recipe.lora.rank, recipe.lora.alpha, generator)
    is_whole = recipe.training.sharding == "none"  # FSDP2 wants one dtype
    dtype = DTYPES[recipe.training.precision] if is_whole else None
    add_lora(student, lora, dtype, recipe.lora.dropout)
    return student


def _with_weights(
    name: str | Path, teacher: Teacher, recipe: Recipe, trained: dict[str, Tensor]
) -> HummingbirdUNet:
    """Load a fresh student with the trained weights: no process holds a whole sharded one."""
    student = _new_student(name, teacher, recipe)
    student.load_state_dict(trained, strict=False)
    return student


def _write(
    files: Tuned, trained: HummingbirdUNet, name: str | Path, teacher: Teacher, recipe: Recipe
) -> None:
    if files.lora is None or files.peft is None:
        merged = trained
    else:
        lora = _lora_of(trained, name, recipe, recipe.training.steps)
        save_lora(lora, files.lora, overwrite=True)
        save_lora(lora, files.peft, "peft", overwrite=True)
        merged = _merged(load_student(name, teacher, recipe), lora) if files.model else trained
    if files.model:
        write_student(merged, teacher.file, files.model)


def _lora_of(trained: HummingbirdUNet, name: str | Path, recipe: Recipe, steps: int) -> LoRA:
    """Return the LoRA of a trained student, with what it was trained with."""
    lora = lora_from_peft(trained)
    config = recipe.lora or LoRAConfig()
    facts = TrainingFacts(
        "tuned",
        *identify_base(name),
        rank=config.rank,
        alpha=config.alpha,
        steps=steps,
        version=__version__,
        settings=recipe_values(recipe),
    )
    lora.metadata = training_metadata(facts, trained)
    return lora


def _merged(student: HummingbirdUNet, lora: LoRA) -> HummingbirdUNet:
    merge_lora(student, lora)
    return student
