"""One video in, its clips with measured columns out: the work that is spread over processes.

A score stage is a function `(frames uint8 [T,H,W,3], fps) -> columns`. It only adds columns and
never decides what is kept; a threshold that changes later needs none of this again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import sha256_of_file
from ..video import atomic_output, write_video
from ..video_reader import VideoStream, open_video
from .camera import camera_motion
from .duplicates import perceptual_hash
from .overlays import load_detector, overlay_share
from .segments import Clip, split_into_clips
from .shrinking import fit_height
from .sources import SourceVideo, as_unicode

ScoreStage = Callable[[np.ndarray, float], dict[str, Any]]
Row = dict[str, Any]

VERSION = 2  # of the measures; raised when one changes, so that old results are not mixed with new
THUMBNAIL_HEIGHT = 72  # pixels
# With another number of threads x264 writes other bytes, so that two machines would not make the
# same shards.
CLIP_ENCODER = ("-threads", "1")
MAX_CLIP_BYTES = 2**30  # of pixels; a file may claim a thousand frames a second
MIN_FRAMES = 3  # fewer have no change of motion to measure


@dataclass(frozen=True)
class MeasureSettings:
    """What decides the measured columns.

    Args:
        max_seconds: greatest length of a clip; longer shots become several.
        max_height: larger videos are shrunk, by a whole factor, to at most this many rows.
        dover: file with DOVER's weights, for the technical and aesthetic score; None leaves the
            two out.
        detectors: `module:function` of the user's own stages, e.g. a watermark detector.
    """

    max_seconds: float = 5.0
    max_height: int = 720
    dover: str | None = None
    detectors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.max_seconds <= 60:
            raise InputError(f"got clips of {self.max_seconds} s, expected more than 0, at most 60")
        if self.max_height < 16:
            raise InputError(f"got a height of {self.max_height}, expected at least 16 pixels")

    def key(self) -> str:
        """Eight letters that differ whenever the measured columns may differ."""
        text = json.dumps([VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def measure_source(source: SourceVideo, settings: MeasureSettings, clip_folder: Path) -> list[Row]:
    """All clips of a video, measured and written to `clip_folder`; never raises.

    Returns:
        One row for each clip; for a video that cannot be used a single row with its `error`.
    """
    row: Row = {"source": source.name, "source_id": ""}
    rows: list[Row] = []
    try:
        with _one_core(), source.on_disk() as path:
            row["source_id"] = sha256_of_file(path)[:16]
            for columns in _measure_clips(path, row["source_id"], settings, clip_folder):
                rows.append({**row, **columns})
    # Whatever a hostile file breaks, in our code or in a library, costs this file only.
    except Exception as error:
        _discard_clips(rows, clip_folder)
        return [{**row, "id": row["source_id"], "error": reason_of(error)}]
    return rows


def reason_of(error: Exception) -> str:
    """One short line for the manifest."""
    lines = as_unicode(str(error)).splitlines()
    return (lines[0] if lines and lines[0] else type(error).__name__)[:300]


def clip_path(folder: Path, clip_id: str) -> Path:
    """Where a clip lies; 256 sub-folders keep each one small at any scale."""
    return folder / clip_id[:2] / f"{clip_id}.mp4"


def _measure_clips(
    path: Path, source_id: str, settings: MeasureSettings, folder: Path
) -> Iterator[Row]:
    with open_video(path) as video:
        frames = (fit_height(frame, settings.max_height) for frame in video.frames)
        for clip in split_into_clips(frames, video.fps, max_frames(video, settings)):
            clip_id = f"{source_id}-{clip.start:06d}-{len(clip.frames):04d}"
            write_video(clip_path(folder, clip_id), clip.frames, clip.fps, encoder=CLIP_ENCODER)
            _write_thumbnail(clip_path(folder, clip_id).with_suffix(".jpg"), clip.frames)
            yield {"id": clip_id, **_score(clip, settings), **_describe(clip)}


def max_frames(video: VideoStream, settings: MeasureSettings) -> int:
    """The greatest length of a clip of `video`, in frames, by time and by memory."""
    factor = -(-video.height // settings.max_height)
    frame_bytes = 3 * (video.height // factor) * (video.width // factor)
    by_time = round(settings.max_seconds * video.fps)
    return max(1, min(by_time, MAX_CLIP_BYTES // max(1, frame_bytes)))


def _describe(clip: Clip) -> Row:
    count, height, width = clip.frames.shape[:3]
    return {
        "boundary": clip.boundary,
        "start_frame": clip.start,
        "num_frames": count,
        "fps": clip.fps,
        "seconds": count / clip.fps,
        "width": width,
        "height": height,
    }


def _score(clip: Clip, settings: MeasureSettings) -> Row:
    if len(clip.frames) < MIN_FRAMES:
        return {}
    columns: Row = {}
    for stage in score_stages(settings):
        columns |= stage(clip.frames, clip.fps)
    return columns


def score_stages(settings: MeasureSettings) -> list[ScoreStage]:
    """All stages that measure a clip, in order."""
    from ..vqa import measure

    stages: list[ScoreStage] = [measure, camera_motion, overlay_share, perceptual_hash]
    if settings.dover:
        stages.append(partial(_learned_scores, weights=settings.dover))
    return stages + [load_detector(name) for name in settings.detectors]


def _learned_scores(frames: np.ndarray, fps: float, weights: str) -> dict[str, float | None]:
    from ..vqa import score_video

    score = score_video(frames, fps, dover=_load_dover(weights))
    return {name: getattr(score, name) for name in ("technical", "aesthetic", "overall")}


@cache  # once in each process
def _load_dover(weights: str) -> Any:
    from ..devices import best_device
    from ..vqa import load_dover

    return load_dover(weights, device=best_device())


@contextmanager
def _one_core() -> Iterator[None]:
    """The processes share the cores already; and sums come out the same on every machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write_thumbnail(path: Path, frames: np.ndarray) -> None:
    from PIL import Image

    middle = Image.fromarray(frames[len(frames) // 2])
    middle.thumbnail((4 * THUMBNAIL_HEIGHT, THUMBNAIL_HEIGHT))
    with atomic_output(path) as temporary:
        middle.save(temporary, format="JPEG", quality=80)


def _discard_clips(rows: list[Row], folder: Path) -> None:
    for row in rows:
        clip = clip_path(folder, row["id"])
        clip.unlink(missing_ok=True)
        clip.with_suffix(".jpg").unlink(missing_ok=True)
