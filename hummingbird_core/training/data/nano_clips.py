"""Clips of the built-in model's synthetic dataset, rendered on demand: an infinite source."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...nano.latents import NANO_SCALING_FACTOR, image_latents
from ...nano.world.paths import NANO_FPS, NUM_FRAMES, Clip
from ...nano.world.stream import samples
from .batch import ClipBatch
from .clip_order import ClipConfig, numbers_of_step
from .clip_reading import FrameConfig

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

NANO_WORLD = "nano"  # name of this source in recipes and on the command line
FPS_RANGE = (4.0, 16.0)  # of 16 frames
USUAL_FPS_SHARE = 0.4  # share of the clips with the usual frame rate
LOOP_EVERY = 6  # steps


@dataclass(frozen=True)
class NanoClips:
    """A `ClipSource` of the built-in model's world; latents are computed without its VAE.

    Attributes:
        num_frames: of a clip.
        seed: of the stream of clips.
        caption_dropout: share of clips without text, for classifier-free guidance.
        loops: whether the clips of every sixth step loop.
    """

    num_frames: int = NUM_FRAMES
    seed: int = 0
    caption_dropout: float = 0.0
    loops: bool = True

    def batch(self, step: int, *, size: int, rank: int = 0, world_size: int = 1) -> ClipBatch:
        """Return a batch, see `batch.ClipSource`."""
        loop = self.loops and step % LOOP_EVERY == LOOP_EVERY - 1
        clips = [self._clip(n, loop) for n in numbers_of_step(step, size, rank, world_size)]
        videos, captions, rates = zip(*clips, strict=True)
        frames = torch.stack(videos).transpose(1, 2).flatten(0, 1)  # [B*T, 3, H, W]
        latents = image_latents(frames * 2 - 1).unflatten(0, (size, self.num_frames))
        return ClipBatch(
            NANO_SCALING_FACTOR * latents.transpose(1, 2),  # [B, 4, T, h, w]
            list(captions),
            torch.tensor(rates),
            loop=loop,
        )

    def _clip(self, number: int, loop: bool) -> tuple[torch.Tensor, str, float]:
        """Render video `[3, T, H, W]` in 0..1, caption and frame rate."""
        rng = random.Random(f"clip {self.seed} {number}")
        # Evenly on a scale of octaves: a clip of 4 frames a second is as often as one of 16.
        low, high = (math.log(rate) for rate in FPS_RANGE)
        is_usual = rng.random() < USUAL_FPS_SHARE
        fps = NANO_FPS if is_usual else math.exp(rng.uniform(low, high))
        fps *= min(self.num_frames / NUM_FRAMES, 1)  # fewer frames show the same seconds
        clip = Clip(self.num_frames, fps, loop)
        scene, _, caption = next(samples(rng.getrandbits(32), clip))
        is_silent = rng.random() < self.caption_dropout
        return scene.render(), "" if is_silent else caption, fps


def open_nano_clips(clips: ClipConfig, frames: FrameConfig, vae: AutoencoderKL) -> NanoClips:
    """Return the source for one clip length; frames are 64x64, whatever `frames` says."""
    return NanoClips(clips.num_frames, clips.seed, clips.caption_dropout)
