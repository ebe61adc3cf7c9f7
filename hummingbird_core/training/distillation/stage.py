"""What both distillation stages do: load models and clips, train, and keep the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...checkpoints.load import load_checkpoint
from ...errors import CheckpointError, InputError
from ...hub.local import resolve_model
from ...nano.latents import SCALING_FACTOR
from ...text.encoder import TextEncoder
from ...unet.model import PRESETS, HummingbirdUNet, UNetConfig
from ..data.batch import ClipSource, batch_of
from ..data.clip_sources import Mixture, open_clips
from ..data.nano_clips import NANO_WORLD, NanoClips
from ..loop.distributed import distributed_state
from ..loop.micro_batch import MicroBatch
from ..loop.modules import freeze, set_dropout
from ..loop.state import full_state_dict, state_path
from ..loop.trainer import train
from ..pruning.block_map import BlockMap, map_to, prune, read_map
from ..rewards.loading import load_reward
from .held_out_metric import make_held_out_metric
from .losses import Objective, RewardFeedback, check_objectives, weighted_terms
from .noise import NoiseConfig
from .recipe import Recipe, RewardConfig
from .run_record import RunRecord, provenance_of
from .step import Models, draw_step
from .validation import Validation

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL


@dataclass(frozen=True)
class Teacher:
    """The frozen models of a teacher's file, in eval mode, on the training device.

    Attributes:
        file: where they come from.
    """

    file: Path
    unet: HummingbirdUNet
    vae: AutoencoderKL
    text_encoder: TextEncoder


@dataclass(frozen=True)
class DistillationLoss:
    """The loss of one micro-batch: a batch of clips, and the objectives on it."""

    clips: ClipSource
    models: Models
    objectives: Mapping[str, Objective]
    noise: NoiseConfig

    def __call__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        batch = batch_of(self.clips, micro_batch).to(distributed_state().device)
        step = draw_step(micro_batch, batch, self.models, self.noise)
        return weighted_terms(self.objectives, step)


def find_teacher(name_or_path: str | Path) -> Path:
    """The file of a teacher; raises CheckpointError if there is none."""
    path = resolve_model(name_or_path)
    if path.is_dir():
        raise CheckpointError(
            f"got folder {path}, expected the teacher's file: name the file in it"
        )
    return path


def load_teacher(name_or_path: str | Path) -> Teacher:
    """Loads a teacher, with the VAE and the text encoder that its student will share.

    Raises:
        CheckpointError: there is no such file, or it lacks one of the three.
    """
    path = find_teacher(name_or_path)
    checkpoint = load_checkpoint(path, dtype=torch.float32)
    if checkpoint.vae is None or checkpoint.text_encoder is None:
        raise CheckpointError(
            f"got {path.name} without VAE or text encoder, expected a whole model: use a merged "
            "checkpoint such as VideoCrafter2's"
        )
    return Teacher(path, checkpoint.unet, checkpoint.vae, checkpoint.text_encoder)


def load_student(name_or_path: str | Path, teacher: Teacher, recipe: Recipe) -> HummingbirdUNet:
    """A student as training finds it, on the CPU in fp32.

    Args:
        name_or_path: a U-Net preset, which is made of the teacher's blocks, or a file.
        teacher: not changed.
        recipe: says what training does to the student's layers.
    """
    if name_or_path in PRESETS:
        student = HummingbirdUNet(UNetConfig.from_preset(str(name_or_path)))
        prune(teacher.unet, student)
    else:
        student = load_checkpoint(resolve_model(name_or_path), dtype=torch.float32).unet
    student.gradient_checkpointing = recipe.student.gradient_checkpointing
    set_dropout(student, recipe.student.dropout)
    return student


def train_student(
    name: str,
    student: HummingbirdUNet,
    origin: str | Path,
    teacher: Teacher,
    data: str | Path,
    recipe: Recipe,
    folder: Path,
    latents: Path | None,
) -> dict[str, Tensor]:
    """Trains `student` as the recipe says; goes on where an earlier call stopped.

    Args:
        name: of the stage, for its files.
        student: what of it needs gradients is trained.
        origin: the preset or file that the student was made of.
        teacher: from `load_teacher`; frozen here.
        data: source of clips, see `clip_index.list_clips`, or "nano".
        recipe: objectives and settings.
        folder: of the run.
        latents: folder that keeps the clips' latents, for several runs; default: in `folder`.

    Returns:
        the trained weights by name, on the CPU; in other processes than the main one, nothing.
    """
    _check_world(teacher, data, recipe)
    _check_guidance(student, recipe)
    is_main = distributed_state().is_main_process
    record = _record(name, origin, teacher, data, folder)
    if is_main:
        record.check(recipe)
    for module in (teacher.unet, teacher.vae, teacher.text_encoder):
        freeze(module, recipe.training.precision)
    models = Models(
        student, teacher.unet, teacher.text_encoder, _kept_blocks(student, teacher, recipe)
    )
    objectives = make_objectives(recipe, teacher.vae)
    check_objectives(objectives, distributed_state().num_processes, recipe.training.sharding)
    judging = make_held_out_metric(recipe, objectives, folder / "judge.jsonl")
    clips = open_data(data, teacher.vae, recipe, latents or folder / "latents")
    validation = Validation(
        student,
        teacher.vae,
        teacher.text_encoder,
        recipe.validation,
        recipe.noise,
        recipe.data,
        folder / "validation",
        writes=is_main,
        judging=judging,
    )
    if is_main:
        record.keep(recipe)
    loss = DistillationLoss(clips, models, objectives, recipe.noise)
    return full_state_dict(train(name, student, loss, recipe.training, folder, validation))


def _record(
    name: str, origin: str | Path, teacher: Teacher, data: str | Path, folder: Path
) -> RunRecord:
    source = data if is_world(data) else Path(data).absolute()
    provenance = provenance_of(teacher.file, origin, source)
    return RunRecord(folder, state_path(folder, name), provenance)


def make_objectives(recipe: Recipe, vae: AutoencoderKL) -> dict[str, Objective]:
    """The objectives of a recipe by name, its rewards included."""
    rewards = {
        name: _reward_objective(settings, vae, recipe.training.precision)
        for name, settings in recipe.objectives.rewards.items()
    }
    return {**recipe.objectives.without_rewards(), **rewards}


def open_data(data: str | Path, vae: AutoencoderKL, recipe: Recipe, cache: Path) -> ClipSource:
    """The clips to train on, their latents made now if they are not in `cache`."""
    settings, seed = recipe.data, recipe.training.seed

    def clips_of(length: int) -> ClipSource:
        if is_world(data):
            return NanoClips(length, seed, settings.caption_dropout)
        clips = settings.clips(length, seed)
        limit = settings.max_gigabytes
        return open_clips(data, vae, cache, settings.frames, clips, max_gigabytes=limit)

    sources = [clips_of(length) for length in settings.num_frames]
    return Mixture([(source, 1.0) for source in sources], seed) if len(sources) > 1 else sources[0]


def is_world(data: str | Path) -> bool:
    """Whether `data` stands for clips of the built-in model's world."""
    return str(data) == NANO_WORLD


def has_nano_latents(vae: Mapping[str, Any]) -> bool:
    """Whether the latents of a VAE of this config are those of the built-in model: pictures."""
    return vae.get("scaling_factor") == SCALING_FACTOR


def _check_world(teacher: Teacher, data: str | Path, recipe: Recipe) -> None:
    """Raises InputError if a teacher is to learn with latents that only the nano family has."""
    if has_nano_latents(teacher.vae.config):
        return
    if is_world(data):
        raise InputError(
            f"got data nano for {teacher.file.name}, expected clips of your own: the VAE of this "
            "teacher has other latents than the built-in model's world"
        )
    if recipe.noise.picture_range:
        raise InputError(
            f"got noise.picture_range for {teacher.file.name}, expected it of the nano family "
            "only, whose latents are pictures: set it to false, or choose another recipe"
        )


def _check_guidance(student: HummingbirdUNet, recipe: Recipe) -> None:
    has_input = student.config.guidance_embedding
    if recipe.noise.tells_guidance and not has_input:
        low, high = recipe.noise.guidance
        raise InputError(
            f"got guidance {low} to {high} for a student without guidance input, expected a single "
            "value to bake in: set noise.guidance to [11, 11], or choose a student with it"
        )
    if has_input and not recipe.noise.tells_guidance:
        student.time_cond_proj.requires_grad_(False)  # what is told nothing can learn nothing


def _kept_blocks(student: HummingbirdUNet, teacher: Teacher, recipe: Recipe) -> BlockMap:
    features = recipe.objectives.feature_kd
    if features is None:
        return {}
    if features.map:
        return read_map(Path(features.map))
    return map_to(teacher.unet.config, student.config)


def _reward_objective(settings: RewardConfig, vae: AutoencoderKL, precision: str) -> RewardFeedback:
    reward = load_reward(settings.kind, settings.weights)
    if isinstance(reward, nn.Module):
        freeze(reward, precision)
    return RewardFeedback(
        reward=reward,
        vae=vae,
        chunk=settings.chunk,
        max_timestep=settings.max_timestep,
        captions=settings.captions,
        weight=settings.weight,
        every=settings.every,
        processes=settings.processes,
    )
