"""Video files in and out."""

from .files import (
    DEFAULT_FPS,
    MAX_ANIMATION_BYTES,
    SUFFIXES,
    VideoFile,
    read_metadata,
    read_video,
    recorded_fps,
    write_contact_sheet,
    write_video,
    written_path,
)

__all__ = [
    "DEFAULT_FPS",
    "MAX_ANIMATION_BYTES",
    "SUFFIXES",
    "VideoFile",
    "read_metadata",
    "read_video",
    "recorded_fps",
    "write_contact_sheet",
    "write_video",
    "written_path",
]
