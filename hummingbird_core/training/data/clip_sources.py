"""Batches of clips from a latent cache, from video files, or from several such sources."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...curation.source_video import SourceVideo
from ...errors import InputError
from ...terminal import get_logger
from ...vae.codec import encode_video
from .batch import ClipBatch, ClipSource
from .clip_index import list_clips
from .clip_order import (
    ClipConfig,
    clip_index,
    clip_random,
    draw_caption,
    draw_window,
    numbers_of_step,
)
from .clip_reading import FrameConfig, read_frames, to_video
from .latent_cache import MAX_GIGABYTES, CachedClip, cache_latents, report_skipped

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

logger = get_logger(__name__)

Drawn = tuple[Tensor, str, float]  # latents [4, T, h, w], caption, frames a second


def open_clips(
    source: str | Path,
    vae: AutoencoderKL,
    cache: Path,
    frames: FrameConfig,
    settings: ClipConfig,
    *,
    max_gigabytes: float = MAX_GIGABYTES,
) -> CachedClips:
    """Open the clips of `source`; missing latents are encoded now, into the folder `cache`.

    Raises:
        InputError: there is no such source, or none of its clips can be used.
        OutputError: the cache cannot be written.
    """
    if settings.num_frames > frames.max_frames:
        raise InputError(
            f"got clips of {settings.num_frames} frames of videos cut to {frames.max_frames}: "
            "raise data.max_frames"
        )
    cached = cache_latents(list_clips(source), vae, cache, frames, max_gigabytes=max_gigabytes)
    clips = CachedClips.of(cached.clips, settings)
    if not clips.clips:
        raise InputError(f"got {source} without a usable clip: the warnings above say why")
    return clips


@dataclass(frozen=True)
class CachedClips:
    """A `ClipSource` over a latent cache."""

    clips: Sequence[CachedClip]
    settings: ClipConfig

    @classmethod
    def of(cls, clips: Sequence[CachedClip], settings: ClipConfig) -> CachedClips:
        """Select the clips that are long enough; log those left out and those without caption."""
        reasons = {clip.name: too_short(clip.name, clip.num_frames, settings) for clip in clips}
        report_skipped({name: reason for name, reason in reasons.items() if reason}, len(clips))
        usable = [clip for clip in clips if not reasons[clip.name]]
        silent = sum(not clip.caption for clip in usable)
        if silent:
            logger.warning(
                "%d of %d clips have no caption: they teach only what videos look like",
                silent,
                len(usable),
            )
        return cls(usable, settings)

    def batch(self, step: int, *, size: int, rank: int = 0, world_size: int = 1) -> ClipBatch:
        """Return a batch, see `batch.ClipSource`.

        A step that reaches the end of an epoch continues with the next one.

        Raises:
            InputError: latents are damaged.
        """
        return collate([self._draw(n) for n in numbers_of_step(step, size, rank, world_size)])

    def _draw(self, number: int) -> Drawn:
        clip = self.clips[clip_index(number, len(self.clips), self.settings.seed)]
        rng = clip_random(number, self.settings.seed)
        window = draw_window(clip.num_frames, clip.fps, self.settings, rng)
        last = window.start + window.stride * (self.settings.num_frames - 1)
        mean, std = clip.read(window.start, last, window.stride)
        generator = torch.Generator().manual_seed(rng.getrandbits(32))
        latents = mean + std * torch.randn(mean.shape, generator=generator)
        caption = draw_caption(clip.caption, clip.fps, window, self.settings, rng)
        return latents, caption, window.fps(clip.fps)


@dataclass(frozen=True)
class VideoClips:
    """A `ClipSource` that decodes and encodes during training: slow, but without a cache.

    An unusable video is replaced by the next one.

    Attributes:
        skipped: reasons by name, for the unusable videos this process has met.
    """

    videos: Sequence[SourceVideo]
    vae: AutoencoderKL
    frames: FrameConfig
    settings: ClipConfig
    skipped: dict[str, str] = field(default_factory=dict)

    def batch(self, step: int, *, size: int, rank: int = 0, world_size: int = 1) -> ClipBatch:
        """Return a batch, see `batch.ClipSource`.

        Raises:
            InputError: none of the videos can be used.
        """
        return collate([self._draw(n) for n in numbers_of_step(step, size, rank, world_size)])

    def _draw(self, number: int) -> Drawn:
        for attempt in range(len(self.videos)):
            video = self.videos[clip_index(number + attempt, len(self.videos), self.settings.seed)]
            if video.name in self.skipped:
                continue
            try:
                return self._read(video, number)
            except InputError as error:
                self.skipped[video.name] = str(error)
                logger.warning("%s; %d clips left out so far", error, len(self.skipped))
        raise InputError(f"got {len(self.videos)} videos of which none can be used: give others")

    def _read(self, video: SourceVideo, number: int) -> Drawn:
        rng = clip_random(number, self.settings.seed)
        frames = read_frames(video, self.frames)
        if reason := too_short(video.name, len(frames.pixels), self.settings):
            raise InputError(reason)
        window = draw_window(len(frames.pixels), frames.fps, self.settings, rng)
        pixels = frames.pixels[window.start :: window.stride][: self.settings.num_frames]
        generator = torch.Generator(self.vae.device).manual_seed(rng.getrandbits(32))
        with torch.no_grad():
            latents = encode_video(self.vae, to_video(pixels)[None], generator=generator)[0].cpu()
        caption = draw_caption(video.caption, frames.fps, window, self.settings, rng)
        return latents, caption, window.fps(frames.fps)


@dataclass(frozen=True)
class Mixture:
    """A `ClipSource` that takes each step from one of several, which may differ in clip length.

    Args:
        sources: each with its share of the steps.
        seed: of the choice.
        names: of the sources, for reports.
    """

    sources: Sequence[tuple[ClipSource, float]]
    seed: int = 0
    names: Sequence[str] = ()

    def batch(self, step: int, *, size: int, rank: int = 0, world_size: int = 1) -> ClipBatch:
        """Return a batch, see `batch.ClipSource`; all processes choose the same source."""
        source, _ = self.sources[self._chosen(step)]
        return source.batch(step, size=size, rank=rank, world_size=world_size)

    def name_of_step(self, step: int) -> str:
        """Return the name of the source that a step takes its clips from; "" without names."""
        return self.names[self._chosen(step)] if self.names else ""

    def _chosen(self, step: int) -> int:
        shares = [share for _, share in self.sources]
        rng = random.Random(f"mixture {self.seed} {step}")
        return rng.choices(range(len(shares)), shares)[0]


def too_short(name: str, num_frames: int, settings: ClipConfig) -> str:
    """Return why a clip of `num_frames` frames is unusable, or ""."""
    if num_frames >= settings.num_frames:
        return ""
    return f"{name} has {num_frames} frames, expected at least {settings.num_frames}"


def collate(drawn: Sequence[Drawn]) -> ClipBatch:
    """Stack single clips of one shape into a batch."""
    latents, captions, rates = zip(*drawn, strict=True)
    return ClipBatch(torch.stack(latents), list(captions), torch.tensor(rates))
