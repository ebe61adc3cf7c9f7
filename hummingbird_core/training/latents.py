"""Cached latents of moving-shape clips, cut into training batches.

Encoding costs more than a step of the tiny U-Net, so clips are encoded once. Captions are worded
anew every time a clip is drawn, and a clip played backwards is a clip of the opposite direction.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from ..vae import encode_video
from . import shapes

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

FPS_RANGE = (6.0, 12.0)
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
CHUNK = 64  # clips a file


@dataclass(frozen=True)
class Batch:
    """Latents `[B, 4, T, h, w]`, their captions, and their frame rates `[B]`."""

    latents: Tensor
    captions: list[str]
    fps: Tensor


class ShapeClips:
    """Encoded clips of 16 frames. Half have 8 frames a second, half another rate in `FPS_RANGE`."""

    def __init__(self, scenes: list[shapes.Scene], latents: Tensor):
        self.scenes = scenes
        self.latents = latents  # [N, 4, 16, h, w]

    @classmethod
    def encode(cls, vae: AutoencoderKL, count: int, folder: Path) -> ShapeClips:
        """Encodes `count` clips, `CHUNK` a file, and continues where an earlier call stopped."""
        scenes = list(islice(_scenes(), count))
        folder.mkdir(parents=True, exist_ok=True)
        chunks = []
        for start in tqdm(range(0, count, CHUNK), desc="encoding clips", unit="chunk"):
            path = folder / f"latents-{start:05d}.pt"
            if not path.exists():
                clips = torch.stack([shapes.render(s) for s in scenes[start : start + CHUNK]])
                with torch.no_grad():
                    latents = encode_video(vae, clips * 2 - 1, chunk_frames=64, sample=False)
                torch.save(latents.half(), path.with_suffix(".tmp"))
                os.replace(path.with_suffix(".tmp"), path)
            chunks.append(torch.load(path, weights_only=True))
        return cls(scenes, torch.cat(chunks)[:count])

    def batch(self, size: int, num_frames: int, seed: int) -> Batch:
        """`size` random clips of `num_frames` frames, worded and cut as `seed` says.

        Fewer than 16 frames are taken one after the other, or every second one, which halves the
        frame rate (random frame stride, as the full-size model is trained).
        """
        rng = random.Random(seed)
        latents, captions, rates = [], [], []
        for index in rng.sample(range(len(self.scenes)), size):
            scene, clip = self.scenes[index], self.latents[index]
            if rng.random() < 0.5:
                scene = replace(scene, direction=OPPOSITE[scene.direction])
                clip = clip.flip(1)
            stride = rng.choice([1, 2]) if num_frames <= clip.shape[1] // 2 else 1
            first = rng.randint(0, clip.shape[1] - stride * (num_frames - 1) - 1)
            latents.append(clip[:, first::stride][:, :num_frames])
            captions.append(_training_caption(scene, rng))
            rates.append(scene.fps / stride)
        return Batch(torch.stack(latents).float(), captions, torch.tensor(rates))


def _scenes():
    rng = random.Random(0)
    while True:
        fps = shapes.FPS if rng.random() < 0.5 else rng.uniform(*FPS_RANGE)
        yield shapes.random_scene(rng, fps=fps)


def _training_caption(scene: shapes.Scene, rng: random.Random) -> str:
    while shapes.is_held_out(text := shapes.caption(scene, rng)):
        pass
    return text
