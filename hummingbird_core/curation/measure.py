"""Split a video into clips and measure them: the work that engines distribute.

Functions that run in workers import the stages that need torch themselves: the main process, which
only names this module's functions, does without it and needs half of the memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import HummingbirdError, InputError, first_line, machine_advice, memory_advice
from ..files import atomic_write, sha256_of_file, temporary_path
from ..inputs.text import as_unicode
from ..video.files import write_video
from ..video.quantizer import key_frame_quantizer
from ..video.reader import VideoStream, open_video
from .source_video import SourceVideo
from .stages.duplicates import perceptual_hash
from .stages.frames import fit_height
from .stages.overlays import Detector, load_detector, overlay_share
from .table import (
    CAMERA_COLUMNS,
    MODEL_COLUMNS,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    VERDICT_COLUMNS,
)

if TYPE_CHECKING:
    from .stages.clipping import Clip

ManifestRow = dict[str, Any]

VERSION = 9  # of the measures; raise it when one changes, so that old and new results never mix
THUMBNAIL_HEIGHT = 72  # pixels
# The bytes that x264 writes depend on the number of threads; one thread gives equal shards on all
# machines.
CLIP_ENCODER = ("-threads", "1")
MAX_CLIP_BYTES = 2**30  # of pixels; a file may claim a thousand frames per second
MAX_CLIPS = 10_000  # per video: 14 hours in clips of 5 s; a small file may claim more
MAX_FRAMES = 1_000_000  # per video: 9 hours at 30 frames per second
MIN_FRAMES = 3  # per clip; fewer have no change of motion to measure


@dataclass(frozen=True)
class MeasureConfig:
    """Settings that determine the measured columns.

    Args:
        max_seconds: maximum length of a clip; longer shots become several clips.
        max_height: larger videos are shrunk by an integer factor to at most this number of rows.
        dover: file with DOVER's weights, for the learned scores; None omits them.
        detectors: `module:function` of users' own stages, e.g. a watermark detector.
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
        if self.dover and not Path(self.dover).is_file():
            raise InputError(f"there is no file {self.dover}: give DOVER's weights with --dover")

    def cache_key(self) -> str:
        """Return a cache key of eight letters that changes whenever the columns may change.

        A detector counts with its source file, not with that file's imports.
        """
        files = content_hashes(self.dover, self.detectors)
        measured = [VERSION, self.max_seconds, self.max_height, self.detectors, files]
        return short_hash(measured)


def short_hash(settings: Any) -> str:
    """Return a hash of eight letters of plain data; equal for equal settings."""
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]


def measure_source(
    source: SourceVideo, settings: MeasureConfig, clip_folder: Path
) -> list[ManifestRow]:
    """Measure the clips of a video and write them to `clip_folder`; never raises.

    Returns:
        One row for each clip; for an unusable video a single row with its `error`, and with `again`
        if the cause lies outside the video, so that another attempt may succeed.
    """
    from ..devices import one_thread, trim_memory

    source_id = ""
    try:
        with one_thread(), source.on_disk() as path:
            source_id = content_id(path)
            with _all_or_none(clip_folder) as folder:
                clips = _measure_clips(path, source_id, settings, folder)
                row = {"source": source.name, "source_id": source_id}
                return [{**row, **columns} for columns in clips]
    except InputError as error:  # the file itself is unusable, unless it is gone or out of reach
        row = failed_row(source, source_id, reason_of(error))
        return [row if source.error or Path(source.path).is_file() else {**row, "again": True}]
    # A full disk, a missing program, too little memory, or a bug triggered by a hostile file: the
    # damage is limited to this file.
    except Exception as error:
        reason = memory_advice(error) or machine_advice(error) or reason_of(error)
        return [{**failed_row(source, source_id, reason), "again": True}]
    finally:
        trim_memory()


def failed_row(source: SourceVideo, source_id: str, reason: str) -> ManifestRow:
    """Return the row of a video that could not be used."""
    return {"id": source_id, "source": source.name, "source_id": source_id, "error": reason}


def content_id(path: Path) -> str:
    """Return a content hash of 16 letters, equal for files of equal bytes."""
    return sha256_of_file(path)[:16]


def reason_of(error: Exception) -> str:
    """Return an error's first line, at most 300 characters, for the manifest."""
    return as_unicode(first_line(error))[:300]


def clip_path(folder: Path, clip_id: str) -> Path:
    """Return the path of a clip; 256 sub-folders keep each folder small."""
    return folder / clip_id[:2] / f"{clip_id}.mp4"


def _measure_clips(
    path: Path, source_id: str, settings: MeasureConfig, folder: Path
) -> Iterator[ManifestRow]:
    from .stages.clipping import split_into_clips

    with open_video(path) as video:
        frames = (fit_height(frame, settings.max_height) for frame in _limited(video.frames))
        clips = split_into_clips(frames, video.fps, max_frames(video, settings))
        quantizer = key_frame_quantizer(path)
        for number, clip in enumerate(clips):
            if number == MAX_CLIPS:
                raise InputError(
                    f"got a video of more than {MAX_CLIPS} clips: cut it into shorter ones"
                )
            count, height = clip.frames.shape[:2]
            # The height is part of the id: the same clip at another size is another file.
            clip_id = f"{source_id}-{clip.start:06d}-{count:04d}-{height:04d}"
            write_video(clip_path(folder, clip_id), clip.frames, clip.fps, encoder=CLIP_ENCODER)
            _write_thumbnail(clip_path(folder, clip_id).with_suffix(".jpg"), clip.frames)
            columns = {**_score(clip, settings), **_describe(clip), "quantizer": quantizer}
            yield {"id": clip_id, **columns}


def _limited(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for number, frame in enumerate(frames):
        if number == MAX_FRAMES:
            raise InputError(
                f"got a video of more than {MAX_FRAMES} frames: cut it into shorter ones"
            )
        yield frame


def max_frames(video: VideoStream, settings: MeasureConfig) -> int:
    """Return the maximum length of a clip of `video` in frames, limited by time and memory."""
    factor = -(-video.height // settings.max_height)
    frame_bytes = 3 * (video.height // factor) * (video.width // factor)
    by_time = round(settings.max_seconds * video.fps)
    return max(1, min(by_time, MAX_CLIP_BYTES // max(1, frame_bytes)))


def _describe(clip: Clip) -> ManifestRow:
    count, height, width = clip.frames.shape[:3]
    return {
        "boundary": clip.boundary,
        "transition": int(clip.is_transition),
        "start_frame": clip.start,
        "num_frames": count,
        "fps": clip.fps,
        "seconds": count / clip.fps,
        "width": width,
        "height": height,
    }


def _score(clip: Clip, settings: MeasureConfig) -> ManifestRow:
    if len(clip.frames) < MIN_FRAMES:
        return {}
    columns: ManifestRow = {}
    for stage in score_stages(settings.dover, settings.detectors):
        columns |= stage(clip.frames, clip.fps)
    return columns


@contextmanager
def _all_or_none(folder: Path) -> Iterator[Path]:
    """Yield a staging folder whose clips move into `folder` on success and are deleted on failure.

    A video that fails half-way leaves nothing behind, and does not remove equal clips made by
    earlier runs with other settings.
    """
    staging = temporary_path(folder / "clips")
    try:
        yield staging
        for file in staging.glob("*/*"):
            target = folder / file.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_thumbnail(path: Path, frames: np.ndarray) -> None:
    from PIL import Image

    middle = Image.fromarray(frames[len(frames) // 2])
    middle.thumbnail((4 * THUMBNAIL_HEIGHT, THUMBNAIL_HEIGHT))
    with atomic_write(path) as temporary:
        middle.save(temporary, format="JPEG", quality=70)


ScoreStage = Callable[[np.ndarray, float], dict[str, Any]]

LEARNED_COLUMNS = ("technical", "aesthetic", "overall")  # of DOVER


def score_stages(dover: str | None, detectors: Iterable[str]) -> list[ScoreStage]:
    """Return the stages that measure a clip, in order.

    Args:
        dover: file with DOVER's weights; None omits the learned scores.
        detectors: `module:function` of users' own stages.

    Raises:
        InputError: there is no such detector.
    """
    from ..vqa import measure
    from .stages.camera_motion import camera_motion

    stages: list[ScoreStage] = [measure, camera_motion, overlay_share, perceptual_hash]
    if dover:
        stages.append(partial(_learned_scores, weights=dover))
    own = (partial(_own_columns, detector=load_detector(name), name=name) for name in detectors)
    return [*stages, *own]


def number_columns(*, learned: bool) -> list[str]:
    """Return the columns available for selection, without those of detectors.

    Args:
        learned: include the learned scores of DOVER.
    """
    from ..vqa import Score

    measured = [name for name in Score.__dataclass_fields__ if name not in LEARNED_COLUMNS]
    names = [*NUMBER_COLUMNS, *measured, *CAMERA_COLUMNS, "overlay", "quantizer"]
    return list(dict.fromkeys([*names, *(LEARNED_COLUMNS if learned else ())]))


def content_hashes(dover: str | None, detectors: Iterable[str]) -> list[str]:
    """Return the content hashes of the weights and of the detectors' source files.

    Raises:
        InputError: there is no such detector.
    """
    files = [dover, *map(_file_of, detectors)]
    return [sha256_of_file(Path(file)) if file else "" for file in files]


def _file_of(detector: str) -> str | None:
    load_detector(detector)
    return getattr(sys.modules[detector.partition(":")[0]], "__file__", None)


def _own_columns(
    frames: np.ndarray, fps: float, detector: Detector, name: str
) -> dict[str, float | None]:
    """Run a user's detector and validate its columns.

    Raises:
        HummingbirdError: the detector failed or returned anything but numbers. Not an InputError:
            the video is not the cause.
    """
    try:
        found = dict(detector(frames, fps))
        return {new_column_name(column): column_number(value) for column, value in found.items()}
    except Exception as error:
        raise HummingbirdError(
            f"the detector {name} failed: {type(error).__name__}: {error}; it should return a dict "
            "of numbers under names that are not taken"
        ) from error


def new_column_name(column: Any) -> str:
    """Return the name of a user's column.

    Raises:
        ValueError: it is taken, or no name.
    """
    taken = {*number_columns(learned=True), *MODEL_COLUMNS, *TEXT_COLUMNS, *VERDICT_COLUMNS}
    if not isinstance(column, str) or column in taken or " " in column:
        raise ValueError(f"{column!r} is taken, or no name without spaces")
    return column


def column_number(value: Any) -> float | None:
    """Convert a detector's value to a float; None and NaN mean that nothing was measured."""
    if isinstance(value, str | bytes | Mapping):
        raise TypeError(f"{value!r} is no number")
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None


def _learned_scores(frames: np.ndarray, fps: float, weights: str) -> dict[str, float | None]:
    from ..vqa import score_video

    score = score_video(frames, fps, dover=_load_dover(weights))
    return {name: getattr(score, name) for name in LEARNED_COLUMNS}


@cache  # once in each process
def _load_dover(weights: str) -> Any:
    from ..devices import best_device
    from ..vqa import load_dover

    return load_dover(weights, device=best_device())
