"""Read and write video files. The public names are those of `__all__`."""

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
