"""Made dissolves, fades, and what resembles them, small enough to make hundreds of."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

HEIGHT, WIDTH, FPS, FRAMES = 96, 128, 24.0, 96
SECONDS = (0.2, 0.3, 0.5, 0.8, 1.2, 1.6, 2.0)  # lengths of the transitions
TRANSITIONS = ("dissolve", "gentle dissolve", "fade out", "fade in", "fade through white")
OTHERS = (
    *("scene", "fast pan", "whip pan", "shake", "flash", "dimming", "dip and back"),
    *("brightening", "focus pull", "cut"),
)


def make(kind: str, seed: int, seconds: float = 1.0) -> tuple[np.ndarray, tuple[int, int] | None]:
    """Make a clip, uint8 [T, H, W, 3], and the first and last frame of its transition.

    Args:
        kind: one of TRANSITIONS or OTHERS.
        seed: sets contents and motion.
        seconds: length of the transition, or of what resembles one.
    """
    rng = np.random.default_rng([seed, 7])
    length = max(3, round(seconds * FPS))
    start = (FRAMES - length) // 2
    ramp = np.clip((np.arange(FRAMES) - start + 1) / (length + 1), 0, 1)
    place = (start, start + length - 1)
    if kind in TRANSITIONS:
        return _transition(kind, seed, ramp), place
    return _other(kind, seed, rng, length), None


def _transition(kind: str, seed: int, ramp: np.ndarray) -> np.ndarray:
    first, second = _scene(seed), _scene(seed + 10_000)
    if kind == "gentle dissolve":
        ramp = ramp * ramp * (3 - 2 * ramp)
    if kind == "fade out":
        return _mixed(first, np.zeros_like(first), ramp)
    if kind == "fade in":
        return _mixed(np.zeros_like(first), first, ramp)
    if kind == "fade through white":
        white = np.full_like(first, 255)
        there, back = np.clip(2.2 * ramp, 0, 1), np.clip(2.2 * ramp - 1.2, 0, 1)
        return np.where(
            (ramp < 0.5)[:, None, None, None],
            _mixed(first, white, there),
            _mixed(white, second, back),
        )
    return _mixed(first, second, ramp)


def _other(kind: str, seed: int, rng: np.random.Generator, length: int) -> np.ndarray:
    times = np.arange(FRAMES)
    middle = np.abs(times - FRAMES / 2) / (length / 2)  # 1 at both ends
    if kind == "fast pan":
        return _scene(seed, speed=rng.uniform(2, 5))
    if kind == "shake":
        return _scene(seed, shake=2.0)
    if kind == "whip pan":
        return _whip_pan(seed, fast=middle < min(1, 12 / length))
    if kind == "cut":
        clip = _scene(seed)
        clip[FRAMES // 2 :] = _scene(seed + 10_000)[FRAMES // 2 :]
        return clip
    clip = _scene(seed)
    if kind == "flash":
        lit = middle * length < rng.integers(1, 8)
        clip[lit] = clip[lit] // 4 + 190
    if kind == "focus pull":
        return _refocused(clip, radius=6 * np.exp(-((2 * middle) ** 2)))
    gains = {
        "dimming": np.clip(0.5 + (times - FRAMES / 2) / -length, 0.3, 1),
        "brightening": np.clip(0.5 + (times - FRAMES / 2) / length, 0.3, 1),
        "dip and back": 0.25 + 0.75 * np.clip(middle, 0, 1),
    }
    return _mixed(np.zeros_like(clip), clip, gains.get(kind, np.ones(FRAMES)))


def _mixed(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return (1 - share) first + share second, share [T]."""
    weights = share.astype(np.float32)[:, None, None, None]
    return ((1 - weights) * first + weights * second + 0.5).clip(0, 255).astype(np.uint8)


def _scene(seed: int, speed: float | None = None, shake: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi)
    step = (speed or rng.uniform(0.2, 0.8)) * np.array([np.sin(angle), np.cos(angle)])
    path = step * np.arange(FRAMES)[:, None] + rng.normal(0, 1, (FRAMES, 2)) * shake
    return _views(rng, path)


def _views(rng: np.random.Generator, path: np.ndarray) -> np.ndarray:
    """Look at 1/f noise from places `path` [T, 2], with four boxes that move in front of it."""
    world = _world(rng)
    boxes = [
        (rng.uniform(0, 1, 2) * (HEIGHT, WIDTH), rng.uniform(-0.8, 0.8, 2), rng.integers(10, 26, 2))
        for _ in range(4)
    ]
    colors = rng.integers(20, 235, (4, 3))
    clip = np.empty((len(path), HEIGHT, WIDTH, 3), np.uint8)
    for time, (top, left) in enumerate(np.round(path).astype(int) % 256):
        clip[time] = world[top : top + HEIGHT, left : left + WIDTH]
        for (place, velocity, size), color in zip(boxes, colors, strict=True):
            y, x = ((place + velocity * time) % (HEIGHT, WIDTH)).astype(int)
            clip[time, y : y + size[0], x : x + size[1]] = color
    return clip


def _world(rng: np.random.Generator) -> np.ndarray:
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.rfftfreq(256), indexing="ij"))
    frequency[0, 0] = 1
    noise = rng.standard_normal((3, 256, 129, 2)) @ np.array([1, 1j])
    picture = np.fft.irfft2(noise / frequency)
    picture = picture[0] + 0.4 * picture
    picture = picture / picture.std(axis=(1, 2), keepdims=True) * rng.uniform(20, 45)
    picture = picture + rng.uniform(70, 180, (3, 1, 1))
    tile = picture.transpose(1, 2, 0).clip(0, 255).astype(np.uint8)
    return np.tile(tile, (2, 2, 1))


def _whip_pan(seed: int, fast: np.ndarray) -> np.ndarray:
    """Average six moments of each frame: motion blur."""
    speed = np.where(fast, 14.0, 0.5)
    along = np.cumsum(speed)
    moments = [
        _views(
            np.random.default_rng(seed), np.stack([0.2 * along, along + speed * part / 6], axis=1)
        ).astype(np.float32)
        for part in range(6)
    ]
    return (sum(moments) / 6).astype(np.uint8)


def _refocused(clip: np.ndarray, radius: np.ndarray) -> np.ndarray:
    blurred = clip.copy()
    for time, pixels in enumerate(radius.astype(int).tolist()):
        if pixels:
            frame = torch.from_numpy(clip[time]).permute(2, 0, 1)[None].float()
            soft = avg_pool2d(frame, 2 * pixels + 1, 1, pixels, count_include_pad=False)
            blurred[time] = soft[0].permute(1, 2, 0).byte().numpy()
    return blurred
