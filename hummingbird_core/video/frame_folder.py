"""A video as a folder of PNG frames: `00000.png`, `00001.png`, ..."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np

from ..errors import InputError, OutputError
from .animation import image_errors
from .images import rgb_pixels

MAX_FRAMES_BYTES = 4 << 30  # of decoded frames that are read at once
_FRAME_NAME = re.compile(r"\d{5,}\.png", re.IGNORECASE)


def frame_files(folder: Path) -> list[Path]:
    """Return the frames of a folder in order.

    Raises:
        InputError: there are none.
    """
    files = [file for file in folder.iterdir() if _FRAME_NAME.fullmatch(file.name)]
    if not files:
        raise InputError(f"{folder} holds no frames: expected 00000.png, 00001.png, ...")
    return sorted(files, key=lambda file: int(file.stem))


def read_frame_folder(folder: Path) -> np.ndarray:
    """Read all frames of a folder, uint8 `[T, H, W, 3]`.

    Raises:
        InputError: a frame cannot be read, or differs in size, or all together are too large.
    """
    from PIL import Image

    frames: list[np.ndarray] = []
    for file in frame_files(folder):
        with image_errors(file), Image.open(file) as image:
            if 3 * image.width * image.height * (len(frames) + 1) > MAX_FRAMES_BYTES:
                raise InputError(
                    f"the frames in {folder} take more than {MAX_FRAMES_BYTES >> 30} GiB: "
                    "make them fewer or smaller"
                )
            pixels = rgb_pixels(image)
        if frames and pixels.shape != frames[0].shape:
            raise InputError(f"the frames in {folder} differ in size: keep one video in a folder")
        frames.append(pixels)
    return np.stack(frames)


def write_frame_folder(folder: Path, frames: np.ndarray, comment: str) -> None:
    """Write frames uint8 `[T, H, W, 3]` to a new folder."""
    folder.mkdir()
    for index, frame in enumerate(frames):
        write_png(folder / f"{index:05d}.png", frame, comment)


def remove_old_frames(folder: Path) -> None:
    """Delete an existing frame folder, provided it holds frames only.

    Raises:
        OutputError: it is something else.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or any(not _FRAME_NAME.fullmatch(f.name) for f in folder.iterdir()):
        raise OutputError(
            f"{folder} exists and is not a folder of frames only: choose another output name"
        )
    shutil.rmtree(folder)


def write_png(path: Path, pixels: np.ndarray, comment: str) -> None:
    """Write pixels uint8 `[H, W, 3]` with a comment."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Comment", comment)
    Image.fromarray(pixels).save(path, format="PNG", pnginfo=text)
