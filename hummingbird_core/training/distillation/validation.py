"""Validation videos: the student samples a few prompts, always from the same noise."""

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
from ...text.encoder import TextEncoder
from ...unet.model import HummingbirdUNet
from ...video.files import write_video
from .held_out_metric import HeldOutMetric
from .noise import NoiseConfig
from .recipe import ValidationConfig

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

    from .recipe import DataConfig


@dataclass(frozen=True)
class Validation:
    """Samples every prompt and writes `FOLDER/000100-a-red-circle.mp4`, here after 100 steps."""

    student: HummingbirdUNet
    vae: AutoencoderKL
    text_encoder: TextEncoder
    settings: ValidationConfig
    noise: NoiseConfig
    data: DataConfig
    folder: Path
    writes: bool  # one process writes, all sample: a sharded student needs them
    metric: HeldOutMetric | None = None

    def __call__(self, done: int) -> bool:
        """Write the videos after `done` steps, and score them; return whether they are the best."""
        pipeline = HummingbirdPipeline(self.student, self.vae, self.text_encoder)
        prompts = list(self.settings.prompts)
        videos = [pipeline.decode(self._sample(pipeline, prompt)) for prompt in prompts]
        if not self.writes or not videos:
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        for prompt, video in zip(prompts, videos, strict=True):
            path = self.folder / f"{done:06d}-{slug(prompt)}.mp4"
            facts = {"prompt": prompt, "step": done}
            write_video(path, to_uint8(video)[0], self.settings.fps, facts)
        return self.metric is not None and self.metric.add(done, torch.cat(videos), prompts)

    def _sample(self, pipeline: HummingbirdPipeline, prompt: str) -> Tensor:
        settings, data = self.settings, self.data
        shape = (1, 4, max(data.num_frames), data.height // 8, data.width // 8)
        context = pipeline.encode_prompt(prompt)
        latents = initial_noise(shape, settings.seed).to(pipeline.device)
        if settings.sampler == "consistency":
            return pipeline.sample(
                context,
                latents=latents,
                noises=step_noises(shape, settings.seed),
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
        eps = self.student(sample, t, context, fps=self.settings.fps, timestep_cond=embedding)
        return eps.float()
