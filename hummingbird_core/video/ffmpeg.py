"""The ffmpeg executable of the package imageio-ffmpeg."""

from __future__ import annotations

from typing import Any

from ..errors import MissingPackageError


def ffmpeg() -> Any:
    """Import the module imageio_ffmpeg, which includes an ffmpeg executable.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingPackageError(
            "video files need the package imageio-ffmpeg: pip install imageio-ffmpeg"
        ) from error
    return imageio_ffmpeg
