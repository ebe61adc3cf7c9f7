"""The video program ffmpeg, as the package imageio-ffmpeg brings it."""

from __future__ import annotations

from typing import Any

from ..errors import MissingPackageError


def ffmpeg() -> Any:
    """The module imageio_ffmpeg, which brings a program ffmpeg with it.

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
