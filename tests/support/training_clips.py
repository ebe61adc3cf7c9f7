"""A folder of small clips to train on: good ones with awkward names, and broken ones."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from hummingbird_core.training.data.clip_reading import FrameConfig
from hummingbird_core.video import write_video

SMALL = FrameConfig(height=16, width=24, max_frames=40)
BROKEN = {"cut off.mp4", "empty.mp4", "text.mp4", "noise.mkv", "sound only.mp4"}
UNICODE = "Kolibri \u2013 \u8702\u9ce5.mp4"


def moving_bar(frames: int, height: int = 36, width: int = 48, start: int = 0) -> np.ndarray:
    video = np.full((frames, height, width, 3), 40, np.uint8)
    for t in range(frames):
        video[t, :, (start + t) % width] = (250, 60, 10)
    return video


def add_clip(path: Path, frames: int = 20, caption: str | None = "a bar", **bar) -> Path:
    write_video(path, moving_bar(frames, **bar), 12)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def fill_folder(folder: Path) -> Path:
    """Six clips of 20 frames, one of a single frame, and the files that are BROKEN."""
    for i in range(4):
        add_clip(folder / f"clip {i}.mp4", caption=f"bar {i}", start=5 * i)
    add_clip(folder / "tief" / UNICODE, caption="gr\u00fcn", start=30)
    add_clip(folder / "odd.mp4", caption=None, height=35, width=47, start=3)
    add_clip(folder / "one frame.mp4", frames=1)
    whole = (folder / "clip 0.mp4").read_bytes()
    (folder / "cut off.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no video\n" * 50)
    noise = random.Random(0).randbytes(len(whole) - 200)
    (folder / "noise.mkv").write_bytes(whole[:200] + noise)
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", folder / "sound only.mp4")
    return folder


def ffmpeg(*arguments) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True)
