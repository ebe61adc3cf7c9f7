"""Clips of the built-in model's world as a source for training: drawn as needed, endless."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

from ...nano.latents import SCALING_FACTOR, picture_latents
from ...nano.world.motion import FPS, NUM_FRAMES
from ...nano.world.world import samples
from .batch import ClipBatch
from .clip_order import numbers_of_step

NANO_WORLD = "nano"  # in place of a data source: the built-in model's world
FPS_RANGE = (6.0, 12.0)  # of 16 frames


@dataclass(frozen=True)
class NanoClips:
    """A `ClipSource` of the built-in model's world, with the latents that its VAE stands for.

    Attributes:
        num_frames: of a clip.
        seed: of the row of clips.
        caption_dropout: share of clips without text, for classifier-free guidance.
    """

    num_frames: int = NUM_FRAMES
    seed: int = 0
    caption_dropout: float = 0.0

    def batch(self, step: int, *, size: int, rank: int = 0, world_size: int = 1) -> ClipBatch:
        """See `batch.ClipSource`."""
        clips = [self._clip(n) for n in numbers_of_step(step, size, rank, world_size)]
        videos, captions, rates = zip(*clips, strict=True)
        frames = torch.stack(videos).transpose(1, 2).flatten(0, 1)  # [B*T, 3, H, W]
        latents = picture_latents(frames * 2 - 1).unflatten(0, (size, self.num_frames))
        return ClipBatch(
            SCALING_FACTOR * latents.transpose(1, 2),  # [B, 4, T, h, w]
            list(captions),
            torch.tensor(rates),
        )

    def _clip(self, number: int) -> tuple[torch.Tensor, str, float]:
        """Video `[3, T, H, W]` in 0..1, caption, and frame rate: half have the usual one."""
        rng = random.Random(f"clip {self.seed} {number}")
        fps = FPS if rng.random() < 0.5 else rng.uniform(*FPS_RANGE)
        fps *= min(self.num_frames / NUM_FRAMES, 1)  # fewer frames show the same seconds
        scenes = samples(rng.getrandbits(32), num_frames=self.num_frames, fps=fps)
        scene, caption = next(scenes)
        is_silent = rng.random() < self.caption_dropout
        return scene.render(), "" if is_silent else caption, fps
