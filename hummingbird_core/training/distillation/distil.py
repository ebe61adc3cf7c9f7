"""Stage 1: a pruned student learns to predict its guided teacher's noise.

Avoids two faults of the original code: a teacher with active dropout, and a student that starts
from scratch (arXiv 2503.18559, section 3.2).
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ...errors import InputError
from ..loop.distributed import distributed_state
from ..loop.student_file import write_student
from .recipe import Recipe
from .stage import clip_source, load_student, load_teacher, train_student


def distil(
    teacher: str | Path,
    student: str | Path,
    data: str | Path | None,
    recipe: Recipe,
    folder: Path,
    latents: Path | None = None,
    tracker: str = "",
) -> Path:
    """Train all weights of a student; resume where an earlier call stopped.

    Args:
        teacher: a checkpoint with VAE and text encoder, or "nano-teacher".
        student: a U-Net preset, initialized from the teacher's blocks, or a file with a U-Net.
        data: source of clips, see `training.data.registry.open_source`; None: the recipe's.
        recipe: objectives and settings.
        folder: of the run.
        latents: folder of the clips' latents, which runs can share; default: in `folder`.
        tracker: "wandb", "trackio", "mlflow" or `MODULE:NAME`, see `loop.tracking.Watch`.

    Returns:
        `FOLDER/student.safetensors`, with the teacher's VAE and text encoder.

    Raises:
        InputError: the recipe or the clips are unusable.
        CheckpointError: a file is unusable.
        NumericalError: training diverged.
        KeyboardInterrupt: Ctrl-C; the state was saved.
    """
    if recipe.lora:
        raise InputError(
            "got a recipe with lora for stage 1, expected one that trains all weights: take it "
            "out, or use `hummingbird train tune`"
        )
    data = clip_source(data, recipe)
    models = load_teacher(teacher)
    fresh = load_student(student, models, recipe)

    def write(weights: dict[str, Tensor], path: Path, step: int) -> None:
        # Into a fresh student: no process holds a whole sharded one.
        result = load_student(student, models, recipe)
        result.load_state_dict(weights, strict=False)
        write_student(result, models.file, path)

    trained = train_student(
        "distil", fresh, student, models, data, recipe, folder, latents, write, tracker
    )
    destination = folder / "student.safetensors"
    if distributed_state().is_main_process:
        write(trained, destination, recipe.training.steps)
    return destination
