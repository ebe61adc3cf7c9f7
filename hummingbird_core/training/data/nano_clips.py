"""Clips of the built-in model's synthetic dataset, rendered on demand: an infinite source."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...nano.latents import NANO_SCALING_FACTOR, image_latents
from ...nano.world.motion import NANO_FPS, NUM_FRAMES
from ...nano.world.world import samples
from .batch import ClipBatch
from .clip_order import ClipConfig, numbers_of_step
from .clip_reading import FrameConfig

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

NANO_WORLD = "nano"  # name of this source in recipes and on the command line
FPS_RANGE = (6.0, 12.0)  # of 16 frames


@dataclass(frozen=True)
class NanoClips:
    """A `ClipSource` of the built-in model's world; latents are computed without its VAE.

    Attributes:
        num_frames: of a clip.
        seed: of the stream of clips.
        caption_dropout: share of clips without text, for classifier-free guidance.
    """

    num_frames: int = NUM_FRAMES
    seed: int = 0
    caption_dropout: float = 0.0

    def batch(self, step: int, *, size: int, rank: int = 0, world_size: int = 1) -> ClipBatch:
        """Return a batch, see `batch.ClipSource`."""
        clips = [self._clip(n) for n in numbers_of_step(step, size, rank, world_size)]
        videos, captions, rates = zip(*clips, strict=True)
        frames = torch.stack(videos).transpose(1, 2).flatten(0, 1)  # [B*T, 3, H, W]
        latents = image_latents(frames * 2 - 1).unflatten(0, (size, self.num_frames))
        return ClipBatch(
            NANO_SCALING_FACTOR * latents.transpose(1, 2),  # [B, 4, T, h, w]
            list(captions),
            torch.tensor(rates),
        )

    def _clip(self, number: int) -> tuple[torch.Tensor, str, float]:
        """Render video `[3, T, H, W]` in 0..1, caption and frame rate; half have the usual rate."""
        rng = random.Random(f"clip {self.seed} {number}")
        fps = NANO_FPS if rng.random() < 0.5 else rng.uniform(*FPS_RANGE)
        fps *= min(self.num_frames / NUM_FRAMES, 1)  # fewer frames show the same seconds
        scenes = samples(rng.getrandbits(32), num_frames=self.num_frames, fps=fps)
        scene, caption = next(scenes)
        is_silent = rng.random() < self.caption_dropout
        return scene.render(), "" if is_silent else caption, fps


def open_nano_clips(clips: ClipConfig, frames: FrameConfig, vae: AutoencoderKL) -> NanoClips:
    """Return the source for one clip length; frames are 64x64, whatever `frames` says."""
    return NanoClips(clips.num_frames, clips.seed, clips.caption_dropout)
