"""The warning of clips that differ in size or shape from what they are trained at."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="needs the extra train")

from hummingbird_core.training.data.clip_order import ClipConfig
from hummingbird_core.training.data.clip_reading import FrameConfig
from hummingbird_core.training.data.clip_sizes import cropped_share, known_clips, warn_of_sizes
from hummingbird_core.training.data.clip_sources import CachedClips, Mixture
from hummingbird_core.training.data.latent_cache import CachedClip

FRAMES = FrameConfig(height=320, width=512)  # 8:5


def clips(*sizes: tuple[int, int] | None) -> list[CachedClip]:
    return [
        CachedClip(f"{number}.mp4", "", Path("none"), 16, 8.0, size)
        for number, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("size", "share"),
    [((512, 320), 0.0), ((1024, 640), 0.0), ((640, 320), 0.2), ((320, 320), 0.375)],
)
def test_what_cropping_costs(size, share):
    assert cropped_share(size, FRAMES) == pytest.approx(share)


def test_one_line_for_all_sizes(caplog):
    warn_of_sizes(clips((640, 400), (320, 320), (640, 400), (512, 320)), FRAMES)
    (line,) = caplog.messages
    assert line.startswith("clips of 3 sizes, 640x400 (2 clips), 320x320 (1 clips), 512x320 (1 cl")
    assert "cropped to 512x320: up to 38 % of a picture is lost (of 320x320)" in line


def test_one_size_of_another_shape(caplog):
    warn_of_sizes(clips((320, 320)), FRAMES)
    assert len(caplog.messages) == 1


def test_nothing_is_said_of_clips_that_fit_or_are_unknown(caplog):
    warn_of_sizes(clips((512, 320), None, (512, 320)), FRAMES)
    warn_of_sizes(clips((1024, 640)), FRAMES)
    warn_of_sizes(clips(None), FRAMES)
    assert not caplog.messages


def test_a_clip_counts_once_in_a_mixture_of_lengths(caplog):
    some = clips((320, 320), (512, 320))
    sources = [(CachedClips(some, ClipConfig(length)), 1.0) for length in (4, 8)]
    found = known_clips(Mixture(sources))
    assert len(found) == 4
    warn_of_sizes(found, FRAMES)
    assert "320x320 (1 clips)" in caplog.messages[0]
