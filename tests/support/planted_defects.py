"""Synthetic clips with and without a planted defect, for the tests and benchmarks of curation.

A scene is a smoothly moving view of a large random texture with natural (1/f) statistics and
independently moving colored discs: it has edges, fine detail, motion everywhere, and no defect.
"""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw

from hummingbird_core.video import write_video

FPS = 24.0
KINDS = (
    *("blur", "flicker", "freeze", "black", "cut", "jerk"),
    *("low bitrate", "low bitrate H.264"),  # caused by the encoding: pass the kind to `write_clip`
)


def scene(seed: int, frames: int = 48, height: int = 240, width: int = 320) -> np.ndarray:
    """Render a clip without defects, uint8 [T, H, W, 3]; the seed sets content and motion."""
    return render(seed, np.arange(frames), height, width)


def render(seed: int, times: np.ndarray, height: int, width: int) -> np.ndarray:
    """Render the scene `seed` at `times`, in frames, which may be fractional, repeat or jump."""
    rng = np.random.default_rng(seed)
    world = _texture(rng, 2 * max(height, width))
    speed = rng.uniform(0.5, 2.0) * width / 320
    angle = rng.uniform(0, 2 * np.pi)
    step = speed * np.array([np.sin(angle), np.cos(angle)])
    discs = [_Disc(rng, height, width) for _ in range(4)]
    return np.stack([_frame(world, discs, step * t, t, height, width) for t in times])


def _texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return color noise of amplitude 1 / frequency, as in photographs; it wraps around."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    frequency[0, 0] = 1
    noise = rng.standard_normal((3, side, side // 2 + 1, 2)) @ np.array([1, 1j])
    picture = np.fft.irfft2(noise / frequency, s=(side, side))
    luma, tint = picture[0], 0.4 * picture
    picture = (luma + tint) / (luma + tint).std(axis=(1, 2), keepdims=True)
    middle = rng.uniform(90, 165, (3, 1, 1))
    return (middle + 35 * picture).transpose(1, 2, 0).astype(np.float32)


class _Disc:
    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.place = rng.uniform(0, 1, 2) * (height, width)
        self.velocity = rng.uniform(-2.0, 2.0, 2) * width / 320
        self.radius = rng.uniform(0.06, 0.14) * height
        self.colour = rng.uniform(20, 235, 3).astype(np.float32)


def _frame(
    world: np.ndarray, discs: list[_Disc], offset: np.ndarray, time: float, height: int, width: int
) -> np.ndarray:
    frame = _view(world, offset, height, width)
    y, x = np.ogrid[:height, :width]
    for disc in discs:
        centre = (disc.place + disc.velocity * time) % (height, width)
        distance = np.hypot(y - centre[0], x - centre[1])
        cover = np.clip(disc.radius - distance, 0, 1)[..., None].astype(np.float32)
        frame += cover * (disc.colour - frame)
    return np.clip(frame, 0, 255).astype(np.uint8)


def _view(world: np.ndarray, offset: np.ndarray, height: int, width: int) -> np.ndarray:
    """Crop `world` at `offset`, which may be fractional (bilinear)."""
    top, left = np.floor(offset).astype(int)
    part_y, part_x = (offset - np.floor(offset)).astype(np.float32)
    view = world.take(range(top, top + height + 1), axis=0, mode="wrap")
    view = view.take(range(left, left + width + 1), axis=1, mode="wrap")
    view = (1 - part_y) * view[:-1] + part_y * view[1:]
    return (1 - part_x) * view[:, :-1] + part_x * view[:, 1:]


def with_defect(kind: str, seed: int, frames: int = 48, height: int = 240, width: int = 320):
    """Render a clip with one defect, uint8 [T, H, W, 3]; `kind` is one of KINDS."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    times = np.arange(frames)
    if kind == "freeze":
        start = frames // 4 + int(rng.integers(frames // 4))
        times = np.where((times >= start) & (times < start + frames // 3), start, times)
    if kind == "jerk":  # time stops every few frames, then jumps to catch up
        times = times // (period := int(rng.integers(4, 7))) * period
    clip = render(seed, times, height, width)
    if kind == "blur":
        clip = _blurred(clip, sigma=rng.uniform(2.5, 4.0))
    if kind == "flicker":
        gains = 1 + rng.uniform(0.08, 0.15) * rng.choice([-1.0, 1.0], frames)
        clip = np.clip(clip * gains[:, None, None, None], 0, 255).astype(np.uint8)
    if kind == "black":
        start = int(rng.integers(8, frames - 16))
        clip[start : start + 8] = 0
    if kind == "cut":
        start = int(rng.integers(frames // 3, 2 * frames // 3))
        clip[start:] = scene(seed + 1_000_003, frames, height, width)[start:]
    return clip


def _blurred(clip: np.ndarray, sigma: float) -> np.ndarray:
    height, width = clip.shape[1:3]
    y = np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(height)) ** 2)
    x = np.exp(-2 * (np.pi * sigma * np.fft.rfftfreq(width)) ** 2)
    spectrum = np.fft.rfft2(clip.astype(np.float32), axes=(1, 2)) * np.outer(y, x)[None, ..., None]
    return np.fft.irfft2(spectrum, s=(height, width), axes=(1, 2)).clip(0, 255).astype(np.uint8)


def with_bars(clip: np.ndarray, rows: int, columns: int, level: int = 0) -> np.ndarray:
    """Cover rows above and below and columns left and right of a clip with bars of one gray."""
    barred = np.full_like(clip, level)
    height, width = clip.shape[1:3]
    inside = np.s_[:, rows : height - rows, columns : width - columns]
    barred[inside] = clip[inside]
    return barred


def title_card(frames: int, height: int, width: int, growth: float = 0.0) -> np.ndarray:
    """Render white letters on gray that grow by pixels a frame, uint8 [T, H, W, 3]."""
    cards = []
    for time in range(frames):
        card = Image.new("RGB", (width, height), (60, 60, 60))
        size = height / 9 + growth * time
        place = (width / 6 - time * growth, height / 3)
        ImageDraw.Draw(card).text(place, "A Film by\nSomeone Else", "white", font_size=size)
        cards.append(np.asarray(card))
    return np.stack(cards)


def write_clip(
    path: Path,
    frames: np.ndarray,
    *,
    kind: str = "",
    crf: int | None = None,
    quantizer: int | None = None,
) -> Path:
    """Write an mp4 in high quality.

    Or at a low bit rate if `kind` names one, at a crf of x264, or at a quantizer of MPEG-4 part 2.
    """
    # MPEG-4 part 2 has no deblocking filter: at a low bit rate it shows blocks, where x264 blurs.
    starved = {"low bitrate": ("mpeg4", "-qscale:v", "31"), "low bitrate H.264": _x264(47)}
    how = _x264(crf) if crf is not None else starved.get(kind)
    if quantizer is not None:
        how = ("mpeg4", "-qscale:v", str(quantizer))
    if how is None:
        return write_video(path, frames, FPS)
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames.shape[1:3]
    writer = imageio_ffmpeg.write_frames(
        path,
        (width, height),
        fps=FPS,
        codec=how[0],
        quality=None,
        bitrate=None,
        output_params=list(how[1:]),
        ffmpeg_log_level="quiet",
        macro_block_size=1,
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    return path


def _x264(crf: int) -> tuple[str, ...]:
    return "libx264", "-crf", str(crf)
