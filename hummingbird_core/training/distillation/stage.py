"""Shared code of both distillation stages: load models and clips, train, record the recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...checkpoints.load import load_checkpoint
from ...errors import CheckpointError, InputError
from ...files import content_hash
from ...hub.local import resolve_model
from ...text.encoder import TextEncoder
from ...unet.model import PRESETS, HummingbirdUNet, UNetConfig
from ...vae.tiny import check_decoder_fits, load_fast_decoder
from ..data.batch import ClipSource
from ..data.captions import known_captions
from ..data.clip_sizes import known_clips, warn_of_sizes
from ..data.clip_sources import Mixture
from ..data.registry import (
    check_latents,
    has_no_files,
    is_import_name,
    latent_clamp,
    open_source,
)
from ..loop.distributed import distributed_state
from ..loop.modules import freeze, set_dropout
from ..loop.snapshots import Snapshots, WriteWeights
from ..loop.state import full_state_dict, state_path
from ..loop.tracking import Watch, check_tracker
from ..loop.trainer import train
from ..outside import code_hashes
from ..pruning.block_map import BlockMap, map_to, prune, read_map
from ..rewards.loading import load_reward
from .critics import make_critics
from .held_out_metric import make_held_out_metric
from .losses import FeatureKD, RewardFeedback, check_objectives
from .noise import NoiseConfig
from .paths import PathLoss, make_paths
from .predictions import Models
from .recipe import Recipe, outside_names, recipe_values
from .recipe_objectives import RewardConfig
from .run_record import RunRecord, provenance_of
from .seed_diversity import SeedDiversity
from .step import DistillationLoss, Objective
from .validation import Validation

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL, AutoencoderTiny


@dataclass(frozen=True)
class Teacher:
    """The frozen models of a teacher's file, in eval mode, on the training device.

    Attributes:
        file: their checkpoint.
    """

    file: Path
    unet: HummingbirdUNet
    vae: AutoencoderKL
    text_encoder: TextEncoder


def find_teacher(name_or_path: str | Path) -> Path:
    """Return the file of a teacher; raise CheckpointError if there is none."""
    path = resolve_model(name_or_path)
    if path.is_dir():
        raise CheckpointError(
            f"got folder {path}, expected the teacher's file: name the file in it"
        )
    return path


def load_teacher(name_or_path: str | Path) -> Teacher:
    """Load a teacher, with the VAE and the text encoder its student will share.

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
    """Load a student before training, on the CPU in fp32.

    Args:
        name_or_path: a U-Net preset, initialized from the teacher's blocks, or a file.
        teacher: not changed.
        recipe: sets dropout and gradient checkpointing.
    """
    if name_or_path in PRESETS:
        traits = teacher.unet.config.traits
        student = HummingbirdUNet(UNetConfig.from_preset(str(name_or_path), **traits))
        prune(teacher.unet, student)
    else:
        student = load_checkpoint(resolve_model(name_or_path), dtype=torch.float32).unet
    student.gradient_checkpointing = recipe.student.gradient_checkpointing
    set_dropout(student, recipe.student.dropout)
    return student


def clip_source(data: str | Path | None, recipe: Recipe) -> str | Path:
    """Return `data`, or else the recipe's `data.source`; raise InputError without either."""
    source = data or recipe.data.source
    if source is None:
        raise InputError(
            "got no clips, expected a folder, table, shards, or the name of a source: give --data, "
            "or data.source in the recipe"
        )
    return source


def train_student(
    name: str,
    student: HummingbirdUNet,
    origin: str | Path,
    teacher: Teacher,
    data: str | Path,
    recipe: Recipe,
    folder: Path,
    latents: Path | None,
    write: WriteWeights | None = None,
    tracker: str = "",
) -> dict[str, Tensor]:
    """Train `student` by a recipe; resume where an earlier call stopped.

    Args:
        name: of the stage, for its files.
        student: its parameters that require gradients are trained.
        origin: the preset or file the student was made from.
        teacher: from `load_teacher`; frozen here.
        data: source of clips, see `training.data.registry.open_source`.
        recipe: objectives and settings.
        folder: of the run.
        latents: folder of the clips' latents, which runs can share; default: in `folder`.
        write: writes trained weights, for the snapshots in `checkpoints/`; None: makes none.
        tracker: see `loop.tracking.Watch`.

    Returns:
        The trained weights by name, on the CPU; empty in processes other than the main one.
    """
    check_tracker(tracker)
    _check_latents(teacher, data, recipe)
    _check_guidance(student, recipe)
    is_main = distributed_state().is_main_process
    record = _record(name, origin, teacher, data, recipe, folder)
    if is_main:
        record.check(recipe)
    for module in (teacher.unet, teacher.vae, teacher.text_encoder):
        freeze(module, recipe.training.precision)
    models = _models(student, teacher, recipe)
    objectives = make_objectives(recipe, teacher.vae)
    check_objectives(objectives, distributed_state().num_processes, recipe.training.sharding)
    snapshots = _snapshots(write, recipe, folder)
    find = snapshots.find if snapshots else lambda step: None
    metric = make_held_out_metric(recipe, objectives, folder / "judge.jsonl", find)
    clips = open_data(data, teacher.vae, recipe, latents or folder / "latents")
    seeds = recipe.validation.seeds > 1 and recipe.validation.prompts
    validation = Validation(
        models,
        teacher.vae,
        recipe.validation,
        recipe.noise,
        recipe.data,
        folder / "validation",
        writes=is_main,
        metric=metric,
        diversity=SeedDiversity(folder / "diversity.jsonl", writes=is_main) if seeds else None,
    )
    models.captions.check(teacher.text_encoder, known_captions(clips))
    warn_of_sizes(known_clips(clips), recipe.data.frames)
    if is_main:
        record.keep(recipe)
    loss: DistillationLoss | PathLoss = DistillationLoss(clips, models, objectives, recipe.noise)
    if recipe.paths:
        paths = make_paths(
            models,
            clips,
            recipe.noise,
            recipe.paths,
            folder / "paths",
            seed=recipe.training.seed,
            teacher_hash=content_hash(teacher.file),
        )
        loss = PathLoss(paths, models, objectives, recipe.noise)
    phases = make_critics(objectives, loss, recipe.training.seed)
    kinds = kind_of_step(clips, recipe.noise)
    watch = Watch(folder.resolve().name, tracker, recipe_values(recipe), kinds)
    trained = train(
        name, student, loss, recipe.training, folder, validation, phases, snapshots, watch
    )
    return full_state_dict(trained)


def _snapshots(write: WriteWeights | None, recipe: Recipe, folder: Path) -> Snapshots | None:
    keeping = recipe.training.keep_last, recipe.training.keep_best
    return Snapshots(folder / "checkpoints", write, *keeping) if write else None


def _models(student: HummingbirdUNet, teacher: Teacher, recipe: Recipe) -> Models:
    return Models(
        student,
        teacher.unet,
        teacher.text_encoder,
        _kept_blocks(student, teacher, recipe),
        latent_clamp(teacher.vae.config),
    )


def _record(
    name: str,
    origin: str | Path,
    teacher: Teacher,
    data: str | Path,
    recipe: Recipe,
    folder: Path,
) -> RunRecord:
    source = data if has_no_files(data) else Path(data).absolute()
    provenance = provenance_of(teacher.file, origin, source)
    outside = [str(data)] if is_import_name(data) else []
    code = code_hashes([*outside, *outside_names(recipe)])
    return RunRecord(folder, state_path(folder, name), provenance, code)


def make_objectives(recipe: Recipe, vae: AutoencoderKL) -> dict[str, Objective]:
    """Return the objectives of a recipe by name, its rewards included."""
    rewards = {
        name: _reward_objective(settings, vae, recipe.training.precision)
        for name, settings in recipe.objectives.rewards.items()
    }
    return {**recipe.objectives.terms, **rewards}


def open_data(data: str | Path, vae: AutoencoderKL, recipe: Recipe, cache: Path) -> ClipSource:
    """Open the clips to train on; latents missing in `cache` are encoded now."""
    settings, seed = recipe.data, recipe.training.seed

    def clips_of(length: int) -> ClipSource:
        clips = settings.clips(length, seed)
        limit = settings.max_gigabytes
        return open_source(
            data,
            vae,
            cache,
            settings.frames,
            clips,
            max_gigabytes=limit,
            options=settings.options,
        )

    sources = [clips_of(length) for length in settings.num_frames]
    if len(sources) == 1:
        return sources[0]
    names = [f"{length} frames" for length in settings.num_frames]
    return Mixture([(source, 1.0) for source in sources], seed, names)


def kind_of_step(clips: ClipSource, noise: NoiseConfig) -> Callable[[int], str]:
    """Return a function from a step's number to its length of clips and number of sampling steps.

    Each is left out where all steps have the same; the teacher's paths do not follow the clips.
    """
    mixture = clips if isinstance(clips, Mixture) and noise.samples != "teacher_path" else None

    def kind(step: int) -> str:
        length = mixture.name_of_step(step) if mixture else ""
        count = noise.rollout_steps(step)
        sampling = f"{count} step{'s' if count > 1 else ''}" if noise.mixed_steps else ""
        return ", ".join(part for part in (length, sampling) if part)

    return kind


def _check_latents(teacher: Teacher, data: str | Path, recipe: Recipe) -> None:
    """Raise InputError if clips or recipe need other latents than those of the teacher's VAE."""
    check_latents(data, teacher.vae.config, teacher.file.name)
    if recipe.noise.clip_denoised and latent_clamp(teacher.vae.config) is None:
        raise InputError(
            f"got noise.clip_denoised for {teacher.file.name}, expected it of the nano family "
            "only, whose latents are images: set it to false, or choose another recipe"
        )


def _check_guidance(student: HummingbirdUNet, recipe: Recipe) -> None:
    has_input = student.config.guidance_embedding
    if recipe.noise.condition_on_guidance and not has_input:
        low, high = recipe.noise.guidance
        raise InputError(
            f"got guidance {low} to {high} for a student without guidance input, expected a single "
            "value to bake in: set noise.guidance to [11, 11], or choose a student with it"
        )
    if has_input and not recipe.noise.condition_on_guidance:
        student.time_cond_proj.requires_grad_(False)  # an unused layer gets no gradient


def _kept_blocks(student: HummingbirdUNet, teacher: Teacher, recipe: Recipe) -> BlockMap:
    terms = recipe.objectives.terms.values()
    features = next((term for term in terms if isinstance(term, FeatureKD)), None)
    if features is None:
        return {}
    if features.map:
        return read_map(Path(features.map))
    return map_to(teacher.unet.config, student.config)


def _smaller_decoder(
    name: str, vae: AutoencoderKL, precision: str
) -> AutoencoderKL | AutoencoderTiny:
    decoder = load_fast_decoder(name)
    check_decoder_fits(decoder, vae)
    freeze(decoder, precision)
    return decoder


def _reward_objective(settings: RewardConfig, vae: AutoencoderKL, precision: str) -> RewardFeedback:
    reward = load_reward(settings.kind, settings.weights, settings.options)
    if isinstance(reward, nn.Module):
        freeze(reward, precision)
    return RewardFeedback(
        reward=reward,
        vae=_smaller_decoder(settings.decoder, vae, precision) if settings.decoder else vae,
        chunk=settings.chunk,
        max_timestep=settings.max_timestep,
        captions=settings.captions,
        weight=settings.weight,
        every=settings.every,
        processes=settings.processes,
    )
