"""TensorBoard's files of a run: settings, curves, and validation videos with their prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ...video.animation import write_animation

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

MAIN_CURVE = "loss"  # shown for every run in TensorBoard's table of hyper-parameters


def open_tensorboard(folder: Path, first: int) -> SummaryWriter | None:
    """Return a writer, in a resumed run from step `first` on; None if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first)


def add_settings(writer: SummaryWriter, settings: Mapping[str, int | float | str | bool]) -> None:
    """Write hyper-parameters.

    `SummaryWriter.add_hparams` would make another run of them, with a curve of one point.
    """
    from torch.utils.tensorboard.summary import hparams

    for summary in hparams(dict(settings), {MAIN_CURVE: 0.0}):
        _file_of(writer).add_summary(summary)


def add_video(
    writer: SummaryWriter, step: int, prompt: str, frames: np.ndarray, fps: float
) -> None:
    """Write a video uint8 `[T, H, W, 3]`, which TensorBoard plays in its tab of images.

    `SummaryWriter.add_video` writes the same, but needs moviepy.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata

    height, width = frames.shape[1:3]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "video.gif"
        write_animation(path, frames, fps, prompt)
        image = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes()
        )
    about = SummaryMetadata(summary_description=prompt)
    value = Summary.Value(tag=f"validation/{prompt}", image=image, metadata=about)
    _file_of(writer).add_summary(Summary(value=[value]), step)


def _file_of(writer: SummaryWriter) -> Any:
    return writer.file_writer  # typed as None, which it is once the writer is closed
