"""One part of a training step: noisy clips, what is told about them, and what both models say.

All objectives look at the same step, so the student predicts once, and so does the teacher.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from ...nano.latents import clamp_to_range
from ...sampling.consistency import GRID_STRIDE, consistency_function
from ...sampling.ddim import ddim_step
from ...sampling.schedule import predict_x0, rescale_latents
from ...text.encoder import TextEncoder
from ...unet.model import HummingbirdUNet
from ..data.batch import ClipBatch
from ..loop.micro_batch import MicroBatch
from .guidance import Conditions, guided_prediction, predict
from .noise import NoiseConfig, draw_timesteps, noise_between
from .on_policy import rollout


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
        micro_batch: of which step this is a part.
        models: student and teacher.
        settings: of the noise.
        sample: noisy latents `[B, 4, T, h, w]`, what both models see.
        t: their timesteps `[B]`.
        conditions: of the clips.
        captions: B of them.
    """

    micro_batch: MicroBatch
    models: Models
    settings: NoiseConfig
    sample: Tensor
    t: Tensor
    conditions: Conditions
    captions: list[str]

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
            noise = self._ask_teacher(self.sample, self.t)
        # Conditional and unconditional pass are one batch: [2*B*T, C, h, w] -> [B*T, C, h, w]
        count = self.sample.shape[0] * self.sample.shape[2]
        conditional = {name: value[:count] for name, value in features.items()}
        return Prediction(noise, conditional)

    @torch.no_grad()
    def teacher_path(self, steps: int) -> Tensor:
        """The noise that leads at once to where the guided teacher arrives in DDIM steps.

        Args:
            steps: evenly apart, from here to no noise; 1 gives the teacher's prediction.
        """
        sample, t, eps = self.sample, self.t, self.teacher.noise
        for left in range(steps - 1, 0, -1):
            earlier = self.t * left // steps
            sample = self._ddim_step(sample, eps, t, earlier)
            t, eps = earlier, self._ask_teacher(sample, earlier)
        x0 = predict_x0(sample, eps, t)
        if self.settings.latent_scale:
            x0 = rescale_latents(x0, t, self.t)
        return noise_between(x0, self.sample, self.t)

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
            sample = self._ddim_step(self.sample, self.teacher.noise, self.t, earlier)
            target = consistency_function(sample, self._ask_student(sample, earlier), earlier)
        return value, target

    def _ask_student(self, sample: Tensor, t: Tensor) -> Tensor:
        told = self.settings.tells_guidance
        return predict(self.models.student, sample, t, self.conditions, told=told).float()

    def _ddim_step(self, sample: Tensor, eps: Tensor, t: Tensor, earlier: Tensor) -> Tensor:
        x0 = predict_x0(sample, eps, t)
        return ddim_step(x0, eps, t, earlier, rescale=self.settings.latent_scale)

    def _ask_teacher(self, sample: Tensor, t: Tensor) -> Tensor:
        guided_from = self.settings.guided_from
        eps = guided_prediction(
            self.models.teacher, sample, t, self.conditions, guided_from=guided_from
        ).float()
        if not self.settings.picture_range:
            return eps
        # Strong guidance overshoots: static thresholding (Imagen, arXiv 2205.11487, 2.3).
        return noise_between(clamp_to_range(predict_x0(sample, eps, t)), sample, t)


def draw_step(
    micro_batch: MicroBatch, batch: ClipBatch, models: Models, settings: NoiseConfig
) -> Step:
    """Draws noise, timestep and guidance of every clip from the clip's own generator."""
    device, shape = batch.latents.device, batch.latents.shape[1:]
    is_own = settings.samples == "student"
    noise, numbers = micro_batch.draw(
        (settings.sampling_steps, *shape) if is_own else shape, 2, device
    )
    u, strengths = numbers
    low, high = settings.guidance
    conditions = _conditions(models, batch, low + (high - low) * strengths)
    if is_own:
        told = settings.tells_guidance
        sample, t = rollout(models.student, noise, u, conditions, told)
    else:
        t = draw_timesteps(u, settings)
        sample = settings.noisy(batch.latents, noise, t)
    return Step(micro_batch, models, settings, sample, t, conditions, batch.captions)


@torch.no_grad()
def _conditions(models: Models, batch: ClipBatch, w: Tensor) -> Conditions:
    context = models.text_encoder.encode(batch.captions).embeddings
    return Conditions(context, models.null_context.expand_as(context), batch.fps, w)


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
