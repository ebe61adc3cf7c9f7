"""Read and write video files. The public names are those of `__all__`."""

from .files import SUFFIXES, write_contact_sheet, write_video, written_path
from .frame_folder import MAX_FRAMES_BYTES
from .metadata import DEFAULT_FPS, read_metadata, recorded_fps
from .reader import VideoFile, read_video

__all__ = [
    "DEFAULT_FPS",
    "MAX_FRAMES_BYTES",
    "SUFFIXES",
    "VideoFile",
    "read_metadata",
    "read_video",
    "recorded_fps",
    "write_contact_sheet",
    "write_video",
    "written_path",
]
