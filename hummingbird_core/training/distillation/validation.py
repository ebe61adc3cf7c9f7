"""Validation videos: the student samples a few prompts, always from the same noise.

Further seeds of the same prompts stay latents, and show how much a seed changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...files import slug
from ...pipeline import HummingbirdPipeline, to_uint8
from ...sampling.consistency import guidance_scale_embedding
from ...sampling.ddim import sample_ddim
from ...sampling.noise import initial_noise, step_noises
from ...video.files import write_video
from ..loop.progress import ValidationResult
from .held_out_metric import HeldOutMetric
from .noise import NoiseConfig
from .predictions import Conditions, Models, teacher_eps
from .recipe import ValidationConfig
from .seed_diversity import SeedDiversity

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

    from .recipe import DataConfig


TEACHER_STEPS = 20  # of DDIM, for the teacher's videos


@dataclass(frozen=True)
class Validation:
    """Samples every prompt and writes `FOLDER/000100-a-red-circle.mp4`, here after 100 steps."""

    models: Models
    vae: AutoencoderKL
    settings: ValidationConfig
    noise: NoiseConfig
    data: DataConfig
    folder: Path
    writes: bool  # one process writes, all sample: a sharded student needs them
    metric: HeldOutMetric | None = None
    diversity: SeedDiversity | None = None

    def __call__(self, done: int) -> ValidationResult:
        """Write, score and compare the videos after `done` steps."""
        models = self.models
        pipeline = HummingbirdPipeline(models.student, self.vae, models.text_encoder)
        prompts = list(self.settings.prompts)
        latents = [self._sample(pipeline, prompt, self.settings.seed) for prompt in prompts]
        videos = [pipeline.decode(video) for video in latents]
        numbers = self._compare_seeds(done, pipeline, latents)
        if not self.writes or not videos:
            return ValidationResult()
        frames = {p: to_uint8(video)[0] for p, video in zip(prompts, videos, strict=True)}
        self.folder.mkdir(parents=True, exist_ok=True)
        for prompt, pixels in frames.items():
            path = self.folder / f"{done:06d}-{slug(prompt)}.mp4"
            write_video(path, pixels, self.settings.fps, {"prompt": prompt, "step": done})
        is_best = False
        if self.metric:
            is_best = self.metric.add(done, torch.cat(videos), prompts)
            numbers |= self.metric.means
        return ValidationResult(is_best, numbers, frames, self.settings.fps)

    def _compare_seeds(
        self, done: int, pipeline: HummingbirdPipeline, first: list[Tensor]
    ) -> dict[str, float]:
        """Sample the other seeds, before that once those of the teacher; return what to report."""
        if self.diversity is None or not first:
            return {}
        prompts, start = self.settings.prompts, self.settings.seed
        seeds = range(start, start + self.settings.seeds)
        if self.diversity.needs_teacher:
            made = [self._sample_teacher(pipeline, p, seed) for p in prompts for seed in seeds]
            self.diversity.add_teacher(_by_prompt(made, len(prompts)))
        made = []
        for prompt, video in zip(prompts, first, strict=True):
            made += [video, *(self._sample(pipeline, prompt, seed) for seed in seeds[1:])]
        return {"seed_distance": self.diversity.add(done, _by_prompt(made, len(prompts)))}

    @property
    def _shape(self) -> tuple[int, ...]:
        data = self.data
        return (1, 4, max(data.num_frames), data.height // 8, data.width // 8)

    def _sample_teacher(self, pipeline: HummingbirdPipeline, prompt: str, seed: int) -> Tensor:
        """Return a video of the guided teacher, in DDIM steps."""
        context = pipeline.encode_prompt(prompt)
        device = pipeline.device
        w = torch.tensor([self.settings.guidance_scale], device=device)
        fps = torch.tensor([float(self.settings.fps)], device=device)
        conditions = Conditions(context, self.models.null_context, fps, w)
        guided = self.noise.guided_timesteps

        def predict_noise(sample: Tensor, t: int) -> Tensor:
            steps = torch.tensor([t], device=device)
            return teacher_eps(
                self.models.teacher, sample, steps, conditions, guided=guided
            ).float()

        noise = initial_noise(self._shape, seed).to(device)
        return sample_ddim(predict_noise, noise, TEACHER_STEPS, rescale=self.noise.dynamic_rescale)

    def _sample(self, pipeline: HummingbirdPipeline, prompt: str, seed: int) -> Tensor:
        settings, shape = self.settings, self._shape
        context = pipeline.encode_prompt(prompt)
        latents = initial_noise(shape, seed).to(pipeline.device)
        if settings.sampler == "consistency":
            return pipeline.sample(
                context,
                latents=latents,
                noises=step_noises(shape, seed),
                num_inference_steps=settings.num_inference_steps,
                guidance_scale=settings.guidance_scale,
                fps=settings.fps,
            )
        return sample_ddim(
            lambda sample, t: self._predict(sample, t, context),
            latents,
            settings.num_inference_steps,
            rescale=self.noise.dynamic_rescale,
        )

    def _predict(self, sample: Tensor, t: int, context: Tensor) -> Tensor:
        embedding = None
        if self.noise.condition_on_guidance:
            w = torch.tensor([self.settings.guidance_scale], device=sample.device)
            embedding = guidance_scale_embedding(w)
        eps = self.models.student(
            sample, t, context, fps=self.settings.fps, timestep_cond=embedding
        )
        return eps.float()


def _by_prompt(latents: list[Tensor], prompts: int) -> Tensor:
    """Stack latents `[1, 4, T, h, w]` to `[P, S, 4, T, h, w]`."""
    return torch.cat(latents).float().unflatten(0, (prompts, -1))
