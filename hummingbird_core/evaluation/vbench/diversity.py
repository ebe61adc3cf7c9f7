"""Diversity of the exported videos: how much two seeds of a prompt differ, and what is covered.

VBench's scores do not see a student that draws the same video for every seed. The videos of one
prompt are compared in pixels, or in the features of an image encoder that no reward uses (rewards
are CLIP-class, so DINOv2-class).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ...devices import best_device
from ...errors import CheckpointError, InputError
from ...hub.local import from_pretrained_offline
from ...video.diversity import Coverage, density_and_coverage, seed_distance
from ...video.reader import open_video

FRAMES = 8  # of a video that are compared
PIXELS = (20, 32)  # height and width to which frames are reduced
NUMBERED = re.compile(r"(?P<prompt>.+)-(?P<index>\d+)\.mp4")
KIND = "image encoder"

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SeedSpread:
    """Distances between the seeds of each prompt.

    Attributes:
        distances: by prompt, in the units of the features.
        videos: number of them.
    """

    distances: dict[str, float]
    videos: int

    @property
    def mean(self) -> float:
        """Return the mean over all prompts."""
        return float(np.mean(list(self.distances.values())))

    def against(self, other: SeedSpread) -> float:
        """Return the mean as a share of another model's, over the prompts of both.

        Raises:
            InputError: they have no prompt in common.
        """
        both = self.distances.keys() & other.distances.keys()
        if not both:
            raise InputError("got no prompt that both folders have, expected exports of one list")
        ours, theirs = (sum(each.distances[p] for p in both) for each in (self, other))
        return ours / max(theirs, 1e-12)


def seed_spread(folder: Path, encode: Encode) -> SeedSpread:
    """Measure the distances between the videos `PROMPT-0.mp4`, `PROMPT-1.mp4` ... of each prompt.

    Args:
        folder: of the videos.
        encode: `reduced_pixels`, or an `ImageEncoder`.

    Raises:
        InputError: no prompt has two videos, or a video is damaged.
    """
    groups = {p: paths for p, paths in _by_prompt(folder).items() if len(paths) > 1}
    if not groups:
        raise InputError(
            f"got {folder} without two videos of one prompt, expected PROMPT-0.mp4, PROMPT-1.mp4 "
            "...: make them with `hummingbird evaluate vbench export`"
        )
    distances = {}
    for prompt, paths in tqdm(groups.items(), unit="prompt", disable=None, leave=False):
        features = torch.stack([video_features(path, encode) for path in paths])  # [S, D]
        distances[prompt] = float(seed_distance(features[None]))
    return SeedSpread(distances, sum(map(len, groups.values())))


def coverage_of_videos(real: Sequence[Path], made: Sequence[Path], encode: Encode) -> Coverage:
    """Measure how densely made videos lie among real ones, and how much of these they cover.

    Raises:
        InputError: there are too few real videos.
    """
    first, second = (
        torch.stack([video_features(path, encode) for path in paths]) for paths in (real, made)
    )
    try:
        return density_and_coverage(first, second)
    except ValueError as error:
        raise InputError(str(error)) from error


def _by_prompt(folder: Path) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.mp4")):
        if match := NUMBERED.fullmatch(path.name):
            groups.setdefault(match["prompt"], []).append(path)
    return groups


def video_features(path: Path, encode: Encode) -> Tensor:
    """Return features `[D]` of a video file, from `FRAMES` of its frames.

    Raises:
        InputError: the file holds no video.
    """
    with open_video(path) as video:
        frames = torch.from_numpy(_spread(video.frames))
    # [K, H, W, 3] -> [K, 3, H, W] in 0..1
    return encode(frames.permute(0, 3, 1, 2).float() / 255).flatten()


def _spread(frames: Iterable[np.ndarray]) -> np.ndarray:
    """Return `FRAMES` frames, evenly apart from the first to the last, uint8 `[K, H, W, 3]`."""
    every = list(frames)
    chosen = np.linspace(0, len(every) - 1, FRAMES).round().astype(int)
    return np.stack([every[number] for number in chosen])


def reduced_pixels(frames: Tensor) -> Tensor:
    """Return frames `[K, 3, H, W]` in 0..1 as levels `[K, 3, h, w]` of 0..255, reduced by area."""
    return 255 * F.interpolate(frames, PIXELS, mode="area")


@dataclass(frozen=True)
class ImageEncoder:
    """An image encoder from transformers, such as DINOv2; its features are unit vectors.

    Attributes:
        model: frozen.
        processor: of its images.
    """

    model: Any
    processor: Any

    @classmethod
    def load(cls, name: str) -> ImageEncoder:
        """Load a folder or downloaded hub id onto the best device.

        Raises:
            CheckpointError: it is not on this computer, damaged, or encodes no images.
        """
        from transformers import AutoImageProcessor, AutoModel

        processor = from_pretrained_offline(AutoImageProcessor, name, KIND)
        model = from_pretrained_offline(AutoModel, name, KIND, use_safetensors=True)
        if model.main_input_name != "pixel_values":
            raise CheckpointError(
                f"got {name}, a model of type {model.config.model_type}, as {KIND}, expected one "
                "that takes images alone, such as DINOv2: choose such a model"
            )
        return cls(model.eval().requires_grad_(False).to(best_device()), processor)

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Tensor:
        """Encode frames `[K, 3, H, W]` in 0..1 to `[K, D]`."""
        inputs = self.processor(list(frames), do_rescale=False, return_tensors="pt")
        output = self.model(pixel_values=inputs["pixel_values"].to(self.model.device))
        pooled = getattr(output, "pooler_output", None)
        vectors = output.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)
        return F.normalize(vectors.float(), dim=-1).cpu()  # [K, D]
