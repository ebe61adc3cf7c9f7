"""One part of a training step: noisy clips, what is told about them, and what both models say.

All objectives look at the same step, so the student predicts once, and so does the teacher.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from ..ddim import ddim_step
from ..errors import InputError
from ..sampling import (
    CONSISTENCY_GRID,
    TRAIN_TIMESTEPS,
    add_noise,
    consistency_function,
    predict_x0,
    scale_latents,
)
from ..text_encoder import TextEncoder
from ..unet import HummingbirdUNet
from .consistency import Conditions, guided_prediction, predict
from .data import ClipBatch
from .diffusion import noise_between, noisy_sample
from .latents import clamp_to_range
from .parts import Part

GRID_STRIDE = TRAIN_TIMESTEPS // CONSISTENCY_GRID


@dataclass(frozen=True)
class NoiseSettings:
    """How clips are made noisy, and how strongly the teacher is guided.

    Args:
        timesteps: "uniform" over 0..999; "grid", the 50 of consistency distillation; "high", of
            which an eighth is the last one and an eighth above 900 (docs: what nano needed).
        guidance: range of w in cond + w (cond - uncond). Guidance by uncond + s (cond - uncond), as
            in VideoCrafter2, is w = s - 1. From a range the student is told its w; a single value
            is baked in, and the student is told nothing.
        latent_scale: whether clean latents are scaled from 1.0 to 0.7 over t < 400, as
            VideoCrafter2 knows them.
        pure_last_step: whether nothing is left of the clip at t = 999, as when sampling starts.
        picture_range: whether the guided teacher's clips are held in the range of pictures, for
            latents that are pictures (nano).
    """

    timesteps: Literal["uniform", "grid", "high"] = "uniform"
    guidance: tuple[float, float] = (5.0, 15.0)
    latent_scale: bool = False
    pure_last_step: bool = False
    picture_range: bool = False

    def __post_init__(self) -> None:
        low, high = self.guidance
        if not 0 <= low <= high:
            raise InputError(f"got guidance {low} to {high}, expected 0 or more, the lower first")

    @property
    def tells_guidance(self) -> bool:
        return self.guidance[0] < self.guidance[1]


@dataclass(frozen=True)
class Models:
    """The student that learns, and the frozen models that it learns with.

    Attributes:
        student: in training.
        teacher: predicts without guidance input.
        text_encoder: reads captions, for both.
        kept_blocks: student block -> teacher block whose outputs are compared; may be empty.
    """

    student: HummingbirdUNet
    teacher: HummingbirdUNet
    text_encoder: TextEncoder
    kept_blocks: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def null_context(self) -> Tensor:
        """Embedding of the empty prompt, `[1, 77, C]`."""
        with torch.no_grad():
            return self.text_encoder.encode("").embeddings


@dataclass(frozen=True)
class Prediction:
    """What a model says: noise `[B, 4, T, h, w]`, and outputs of blocks by name."""

    noise: Tensor
    features: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Step:
    """What the objectives share.

    Attributes:
        part: of which step this is a part.
        models: student and teacher.
        settings: how the noise was added.
        latents: clean, `[B, 4, T, h, w]`.
        noise: added to them.
        t: timesteps `[B]`.
        conditions: of the clips.
        captions: B of them.
    """

    part: Part
    models: Models
    settings: NoiseSettings
    latents: Tensor
    noise: Tensor
    t: Tensor
    conditions: Conditions
    captions: list[str]

    @cached_property
    def sample(self) -> Tensor:
        """Noisy latents, what both models see."""
        clean = scale_latents(self.latents, self.t) if self.settings.latent_scale else self.latents
        if self.settings.pure_last_step:
            return noisy_sample(clean, self.noise, self.t)
        return add_noise(clean, self.noise, self.t)

    @cached_property
    def student(self) -> Prediction:
        """The student's prediction, with gradient."""
        with recorded_outputs(self.models.student, self.models.kept_blocks.keys()) as features:
            return Prediction(self._ask_student(self.sample, self.t), features)

    @cached_property
    def teacher(self) -> Prediction:
        """The teacher's guided prediction, and the features of its conditional pass."""
        blocks = set(self.models.kept_blocks.values())
        with torch.no_grad(), recorded_outputs(self.models.teacher, blocks) as features:
            noise = guided_prediction(self.models.teacher, self.sample, self.t, self.conditions)
        # Conditional and unconditional pass are one batch: [2*B*T, C, h, w] -> [B*T, C, h, w]
        conditional = {name: value.chunk(2)[0] for name, value in features.items()}
        return Prediction(self._in_range(noise.float()), conditional)

    @cached_property
    def value(self) -> Tensor:
        """The student's consistency function at `t`: its clean latents, with gradient."""
        return consistency_function(self.sample, self.student.noise, self.t)

    @cached_property
    def consistency_pair(self) -> tuple[Tensor, Tensor]:
        """`value`, and what it should be: the same one guided DDIM step of the teacher earlier."""
        # First the pass with gradient: autocast keeps the weights that it has cast, and those cast
        # without gradient would leave the student without any.
        value = self.value
        earlier = (self.t - GRID_STRIDE).clamp(min=0)
        with torch.no_grad():
            eps = self.teacher.noise
            x0 = predict_x0(self.sample, eps, self.t)
            sample = ddim_step(x0, eps, self.t, earlier, rescale=self.settings.latent_scale)
            target = consistency_function(sample, self._ask_student(sample, earlier), earlier)
        return value, target

    def _ask_student(self, sample: Tensor, t: Tensor) -> Tensor:
        if self.settings.tells_guidance:
            return predict(self.models.student, sample, t, self.conditions).float()
        context, fps = self.conditions.context, self.conditions.fps
        return self.models.student(sample, t, context, fps=fps).float()

    def _in_range(self, eps: Tensor) -> Tensor:
        if not self.settings.picture_range:
            return eps
        x0 = clamp_to_range(predict_x0(self.sample, eps, self.t))
        return noise_between(x0, self.sample, self.t)


def draw_step(part: Part, batch: ClipBatch, models: Models, settings: NoiseSettings) -> Step:
    """Draws noise, timestep and guidance of every clip from the clip's own generator.

    They are drawn on the CPU, so that a seed means the same training on every device.
    """
    generators = part.clip_generators()
    shape = batch.latents.shape[1:]
    noise = torch.stack([torch.randn(shape, generator=g) for g in generators])
    # One number in 0..1 a clip for its timestep, one for its guidance.
    places, strengths = torch.stack([torch.rand(2, generator=g) for g in generators]).unbind(1)
    low, high = settings.guidance
    t = draw_timesteps(places, torch.tensor(part.clip_numbers), settings)
    w = low + (high - low) * strengths
    device = batch.latents.device
    with torch.no_grad():
        context = models.text_encoder.encode(batch.captions).embeddings
    return Step(
        part,
        models,
        settings,
        batch.latents,
        noise.to(device),
        t.to(device),
        Conditions(context, models.null_context.expand_as(context), batch.fps, w.to(device)),
        batch.captions,
    )


def draw_timesteps(places: Tensor, clips: Tensor, settings: NoiseSettings) -> Tensor:
    """Timesteps for numbers `places` `[B]` in 0..1, of the clips so numbered in their batch."""
    if settings.timesteps == "grid":
        return GRID_STRIDE * (CONSISTENCY_GRID * places).long() + GRID_STRIDE - 1
    if settings.timesteps == "high":
        low = torch.tensor([1.0, 0.9] + [0.0] * 6)[clips % 8]
        places = low + (1 - low) * places
    return (TRAIN_TIMESTEPS * places).long().clamp(max=TRAIN_TIMESTEPS - 1)


@contextmanager
def recorded_outputs(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collects what the named parts of `model` put out meanwhile."""
    outputs: dict[str, Tensor] = {}

    def record(name: str, output: Tensor) -> None:
        outputs[name] = output

    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: record(name, output)
        )
        for name in names
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
