"""Training of the built-in model from scratch: VAE, text encoder, teacher, ablation, student.

The ablation finds the blocks that the student does not need.

Every stage keeps its state in the run folder, so the same call continues an interrupted run. The
stages exchange files that work like any model; existing files are not made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors.torch import save

from ...checkpoints.configs import PREVIEW_KEY
from ...checkpoints.layout import (
    CONFIG_KEY,
    LICENSE_KEY,
    PRESET_KEY,
    TEXT_PREFIX,
    TOKENIZER_KEY,
    UNET_PREFIX,
    VAE_PREFIX,
    WEIGHTS_VERSION_KEY,
)
from ...files import atomic_write, check_destination
from ...nano.latents import NANO_SCALING_FACTOR, preview_colors
from ...pipeline import HummingbirdPipeline
from ...text.encoder import TextEncoder, text_encoder_to_openclip
from ...unet.model import HummingbirdUNet
from ...vae.names import diffusers_to_ldm
from ..data.nano_clips import NANO_WORLD
from ..distillation.distil import distil
from ..distillation.recipe import read_recipe
from ..distillation.stage import load_teacher
from ..loop.config import SMALL_MODEL, TrainConfig
from ..loop.distributed import distributed_state
from ..pruning.rank_blocks import RankConfig, map_file, rank_blocks
from .autoencoder import train_vae
from .teacher import train_teacher
from .text import train_text_encoder

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

    from ...text.tokenizer import WordTokenizer

TEACHER_FILE = "nano-teacher.safetensors"
RANKING_NAME = "blocks"  # name of the files of the ablation
STUDENT_FILE = "hummingbird-nano.safetensors"
# Of the packaged weights; raise it when others replace them, and name it in the changelog. Seeds
# and LoRAs belong to one version. Files of version 1 do not name it.
WEIGHTS_VERSION = "3"
VAE_TRAINING = replace(SMALL_MODEL, steps=2000, batch=16, ema_decay=0.98)  # single frames
TEXT_TRAINING = replace(SMALL_MODEL, steps=600, batch=128, ema_decay=0.9)  # captions
TEACHER_TRAINING = replace(SMALL_MODEL, steps=18000, batch=8)  # clips of 16 frames, or more
RANKING = RankConfig(budget=0.5)


def make_nano(
    folder: Path, steps: Mapping[str, int], initial: str | Path | None = None
) -> tuple[Path, Path]:
    """Run the stages that are not done yet.

    Args:
        folder: folder of the run.
        steps: overrides of the number of steps, for "vae", "text", "teacher", "student".
        initial: an earlier teacher, from which the U-Net of this one starts.

    Returns:
        The files of the teacher and of the student.

    Raises:
        CheckpointError: there is no such earlier teacher.
        InputError: the number of processes does not fit the batches.
        KeyboardInterrupt: Ctrl-C; the state was saved.
    """
    teacher, student = folder / TEACHER_FILE, folder / STUDENT_FILE
    if not teacher.exists():
        make_teacher(teacher, steps, initial)
    if not map_file(folder / RANKING_NAME).exists():
        rank_teacher(teacher)
    if not student.exists():
        make_student(student, teacher, steps.get("student"))
    return teacher, student


def make_teacher(file: Path, steps: Mapping[str, int], initial: str | Path | None = None) -> None:
    """Train the models of a teacher, keeping their states next to `file`, and write `file`."""
    folder = file.parent
    earlier = load_teacher(initial).unet if initial else None
    with torch.random.fork_rng(devices=[]):
        # Initial weights: equal in all processes, and independent of the earlier stages.
        torch.manual_seed(0)
        vae = train_vae(_with_steps(VAE_TRAINING, steps.get("vae")), folder)
        torch.manual_seed(1)
        text_encoder = train_text_encoder(_with_steps(TEXT_TRAINING, steps.get("text")), folder)
        torch.manual_seed(2)
        unet = train_teacher(
            text_encoder, _with_steps(TEACHER_TRAINING, steps.get("teacher")), folder, earlier
        )
    if distributed_state().is_main_process:
        save_model(file, unet, vae, text_encoder)
    distributed_state().wait_for_everyone()


def rank_teacher(teacher: Path) -> None:
    """Rank the teacher's blocks and write the result next to the teacher.

    The student has the proposed levels, with the blocks of the published map: the proposed map
    differs in one block and has the same loss (benchmarks/results/nano-blocks.md).
    """
    if distributed_state().is_main_process:
        pipe = HummingbirdPipeline.from_pretrained(teacher)
        rank_blocks(pipe, teacher, teacher.with_name(RANKING_NAME), RANKING)
    distributed_state().wait_for_everyone()


def make_student(file: Path, teacher: Path, steps: int | None) -> None:
    """Distil a student and write it with its VAE and text encoder.

    It is not tuned: that cost variety and no longer made more videos right (docs/notes/
    where-diversity-is-lost.md).
    """
    recipe = read_recipe("nano-distil", [] if steps is None else [f"training.steps={steps}"])
    folder = file.parent / "distil"
    distilled = distil(teacher, "hummingbird-nano", NANO_WORLD, recipe, folder)
    if distributed_state().is_main_process:
        model = load_teacher(distilled)
        save_model(file, model.unet, model.vae, model.text_encoder)
    distributed_state().wait_for_everyone()


def _with_steps(settings: TrainConfig, steps: int | None) -> TrainConfig:
    return settings if steps is None else replace(settings, steps=steps)


def save_model(
    path: Path, unet: HummingbirdUNet, vae: AutoencoderKL, text_encoder: TextEncoder
) -> None:
    """Write one fp16 safetensors file in the layout of the released checkpoints."""
    tokenizer = cast("WordTokenizer", text_encoder.tokenizer)
    parts = {
        UNET_PREFIX: unet.state_dict(),
        VAE_PREFIX: diffusers_to_ldm(vae.state_dict()),
        TEXT_PREFIX: text_encoder_to_openclip(text_encoder),
    }
    config = {
        "unet": unet.config.to_dict(),
        "vae": {
            "scaling_factor": NANO_SCALING_FACTOR,
            "latents_are_images": True,
            PREVIEW_KEY: preview_colors(),
        },
        "text": asdict(text_encoder.config),
    }
    metadata = {
        PRESET_KEY: unet.config.preset or "custom",
        CONFIG_KEY: json.dumps(config),
        TOKENIZER_KEY: tokenizer.to_json(),
        LICENSE_KEY: "Apache-2.0",
        WEIGHTS_VERSION_KEY: WEIGHTS_VERSION,
    }
    tensors = {
        prefix + key: value.half().cpu().contiguous()
        for prefix, weights in parts.items()
        for key, value in weights.items()
    }
    check_destination(path, overwrite=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))
