"""Settings stored inside of video files and contact sheets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .animation import EXIF_IMAGE_DESCRIPTION, image_errors
from .ffmpeg import mp4_comment
from .frame_folder import frame_files

DEFAULT_FPS = 8.0  # of a frame folder without a rate; the models' rate


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read the settings of a video or contact sheet without decoding it; {} if there are none.

    A comment of another program is returned as {"comment": text}.

    Raises:
        InputError: the image is damaged.
    """
    path = Path(path)
    text = _read_comment(path)
    if not text:
        return {}
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        return {"comment": text}
    return metadata if isinstance(metadata, dict) else {"comment": text}


def recorded_fps(metadata: dict[str, Any]) -> float | None:
    """Return the frame rate stored by `write_video`, or None if it is absent or invalid."""
    fps = metadata.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float):
        return None
    return float(fps) if 0 < fps <= 1000 else None


def _read_comment(path: Path) -> str | None:
    if path.suffix.lower() in (".mp4", ".m4v", ".mov"):
        return mp4_comment(path)
    file = frame_files(path)[0] if path.is_dir() else path
    if file.suffix.lower() not in (".gif", ".webp", ".png"):
        return None
    from PIL import Image

    with image_errors(path), Image.open(file) as image:
        comment = image.info.get("Comment") or image.info.get("comment")
        comment = comment or image.getexif().get(EXIF_IMAGE_DESCRIPTION)
    return comment.decode("utf-8", errors="replace") if isinstance(comment, bytes) else comment
