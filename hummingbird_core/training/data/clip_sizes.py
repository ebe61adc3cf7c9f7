"""Sizes of clips before they are scaled and cropped: said once a run if they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...terminal import get_logger
from ..loop.distributed import distributed_state
from .batch import ClipSource
from .clip_reading import FrameConfig
from .clip_sources import CachedClips, Mixture
from .latent_cache import CachedClip

logger = get_logger(__name__)

SIZES_SHOWN = 4
MAX_CROPPED = 0.1  # share of a picture that may be lost without a word


def warn_of_sizes(clips: Sequence[CachedClip], frames: FrameConfig) -> None:
    """Warn in one line of clips of several sizes, or of shapes that lose much by cropping.

    Clips whose size the cache does not know, from older versions, do not count.
    """
    sizes = Counter({clip.name: clip.size for clip in clips if clip.size}.values())
    if not sizes or not distributed_state().is_main_process:
        return
    worst = max(sizes, key=lambda size: cropped_share(size, frames))
    lost = cropped_share(worst, frames)
    if len(sizes) == 1 and lost <= MAX_CROPPED:
        return
    shown = ", ".join(f"{w}x{h} ({n} clips)" for (w, h), n in sizes.most_common(SIZES_SHOWN))
    more = f" and {len(sizes) - SIZES_SHOWN} more" if len(sizes) > SIZES_SHOWN else ""
    logger.warning(
        "clips of %d sizes, %s%s, are scaled and cropped to %dx%d: up to %.0f %% of a picture is "
        "lost (of %dx%d); crop them yourself if subjects are near the edges",
        *(len(sizes), shown, more, frames.width, frames.height, 100 * lost, *worst),
    )


def cropped_share(size: tuple[int, int], frames: FrameConfig) -> float:
    """Return the share of a picture of width and height `size` that training does not see."""
    # The largest centred part with the ratio of the frames: it touches two sides.
    ratio = (size[0] / size[1]) / (frames.width / frames.height)
    return 1 - min(ratio, 1 / ratio)


def known_clips(clips: ClipSource) -> list[CachedClip]:
    """Return all clips of files of a source, each as often as its parts have it."""
    if isinstance(clips, Mixture):
        return [clip for source, _ in clips.sources for clip in known_clips(source)]
    return list(clips.clips) if isinstance(clips, CachedClips) else []
