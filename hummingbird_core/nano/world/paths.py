"""Paths of the subjects of the synthetic dataset: across the frame, or back to where they began."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

FRAME_SIZE = 64  # pixels, height and width
NUM_FRAMES = 16
LONG_FRAMES = 26  # the longest training clips
NANO_FPS = 8.0

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}  # x right, y down
# Back and forth along an axis.
SWINGS = {"bob": (0, 1), "swing": (1, 0)}
# Motions that come back to where they began; only these can loop.
PERIODIC = (*SWINGS, "spin", "hover")
MOTIONS = (*DIRECTIONS, *PERIODIC)

# Slow and quick: pixels a second of motions across the frame, periods a second of periodic ones.
# Others have no name, and are drawn only where the frame or a loop leaves no other.
SLOWEST_SPEEDS, QUICKEST_SPEEDS = (4.0, 6.5), (10.0, 14.0)
# The rates are near those of waves that the U-Net receives (`unet.layers.FramePositionEmbedding`).
SLOWEST_RATES, QUICKEST_RATES = (0.47, 0.53), (0.94, 1.06)
# Spins are half as fast: with an eighth of a turn or more a frame one does not see which way.
SPIN_SLOWDOWN = 0.5
AMPLITUDE = (4.5, 7.0)  # pixels, of bobbing and swinging
HOVER_AMPLITUDE = 1.2  # pixels
TURNING_REACH = 1.27  # of a square's corner, against half its side
BORDER = 1.0  # pixels between a subject and the edge of its area


@dataclass(frozen=True)
class Clip:
    """Size and timing of a clip.

    Attributes:
        num_frames: T.
        fps: frames a second.
        loop: whether the first frame follows the last one.
    """

    num_frames: int = NUM_FRAMES
    fps: float = NANO_FPS
    loop: bool = False

    @property
    def seconds(self) -> Tensor:
        """Return the times of the frames, `[T]`."""
        return torch.arange(self.num_frames, dtype=torch.float32) / self.fps

    @property
    def duration(self) -> float:
        """Return the seconds from the first frame to the last; in a loop, back to the first."""
        return max(self.num_frames - (not self.loop), 1) / self.fps

    @property
    def middle(self) -> float:
        """Return the time half-way between the first and the last frame, in seconds."""
        return (self.num_frames - 1) / 2 / self.fps


@dataclass(frozen=True)
class Area:
    """The part of the frame in which a subject stays; x and y are low and high, in pixels."""

    x: tuple[float, float] = (0.0, FRAME_SIZE)
    y: tuple[float, float] = (0.0, FRAME_SIZE)


@dataclass(frozen=True)
class Path:
    """Position and rotation of a subject over time.

    Half-way through the clip, subjects that spin are upright, and others pass the middle of their
    motion; all spin clockwise. With a random phase and sense, the mean of all spins is a disc: a
    small model then predicts discs from noise, and its pictures turn without order
    (docs/notes/what-nano-needed.md).

    Attributes:
        motion: one of `MOTIONS`.
        start: center, (x, y) in pixels: in the first frame, or in the middle of a periodic motion.
        speed: pixels a second of a motion across the frame, else 0.
        rate: periods a second of a periodic motion, else 0.
        amplitude: pixels, of a periodic motion.
        middle: seconds at which a periodic motion has phase 0.
    """

    motion: str
    start: tuple[float, float]
    speed: float = 0.0
    rate: float = 0.0
    amplitude: float = 0.0
    middle: float = 0.0

    @property
    def pace(self) -> str | None:
        """Return "slowly", "quickly", or None between them."""
        slow, quick = pace_limits(self.motion)
        value = self.speed or self.rate
        if value <= slow:
            return "slowly"
        return "quickly" if value >= quick else None

    def centers(self, seconds: Tensor) -> Tensor:
        """Return x and y in pixels at times `[T]`: `[2, T]`."""
        angle = self._phases(seconds)
        along = self.amplitude * angle.sin()
        if self.motion == "hover":  # a small circle
            way = torch.stack([along, self.amplitude * angle.cos()])
        else:
            axis = torch.tensor(DIRECTIONS.get(self.motion) or SWINGS.get(self.motion, (0, 0)))
            way = axis[:, None] * (self.speed * seconds + along)
        return torch.tensor(self.start)[:, None] + way

    def angles(self, seconds: Tensor) -> Tensor:
        """Return clockwise rotations in radians at times `[T]`: `[T]`."""
        if self.motion != "spin":
            return torch.zeros_like(seconds)
        return self._phases(seconds)

    def _phases(self, seconds: Tensor) -> Tensor:
        return 2 * math.pi * self.rate * (seconds - self.middle)


def pace_limits(motion: str) -> tuple[float, float]:
    """Return the fastest slow and the slowest quick speed, or rate, of a motion."""
    if motion in DIRECTIONS:
        return SLOWEST_SPEEDS[1], QUICKEST_SPEEDS[0]
    return SLOWEST_RATES[1] * slowdown(motion), QUICKEST_RATES[0] * slowdown(motion)


def slowdown(motion: str) -> float:
    """Return the factor of the rates of a periodic motion."""
    return SPIN_SLOWDOWN if motion == "spin" else 1.0


def random_path(
    rng: random.Random, motion: str, clip: Clip, radius: float, area: Area | None = None
) -> Path:
    """Return a path that keeps a subject inside an area for the whole clip.

    Args:
        rng: source of random numbers.
        motion: one of `MOTIONS`.
        clip: its duration limits the speed.
        radius: of the subject, in pixels.
        area: the whole frame by default.
    """
    area = area or Area()
    if motion in DIRECTIONS:
        return _path_across(rng, motion, clip, radius, area)
    return _periodic_path(rng, motion, clip, radius, area)


def _path_across(rng: random.Random, motion: str, clip: Clip, radius: float, area: Area) -> Path:
    dx, _ = DIRECTIONS[motion]
    low, high = _inside(area.x if dx else area.y, radius)
    drawn = rng.uniform(*rng.choice((SLOWEST_SPEEDS, QUICKEST_SPEEDS)))
    speed = min(drawn, (high - low) / clip.duration)
    # The way that is left is split at random between before the start and after the end.
    along = rng.uniform(low, high - speed * clip.duration)
    if motion in ("left", "up"):
        along = low + high - along
    across = rng.uniform(*_inside(area.y if dx else area.x, radius))
    return Path(motion, (along, across) if dx else (across, along), speed=speed)


def _periodic_path(rng: random.Random, motion: str, clip: Clip, radius: float, area: Area) -> Path:
    amplitude = {"spin": 0.0, "hover": HOVER_AMPLITUDE}.get(motion, rng.uniform(*AMPLITUDE))
    rate = rng.uniform(*rng.choice((SLOWEST_RATES, QUICKEST_RATES))) * slowdown(motion)
    if clip.loop:  # whole periods
        rate = max(round(rate * clip.duration), 1) / clip.duration
    reach = radius * TURNING_REACH if motion == "spin" else radius
    x, y = (_inside(side, reach) for side in (area.x, area.y))
    dx, dy = (1, 1) if motion == "hover" else SWINGS.get(motion, (0, 0))
    rooms = [(high - low) / 2 for d, (low, high) in ((dx, x), (dy, y)) if d]
    amplitude = min([amplitude, *rooms])
    start = (
        rng.uniform(x[0] + dx * amplitude, x[1] - dx * amplitude),
        rng.uniform(y[0] + dy * amplitude, y[1] - dy * amplitude),
    )
    return Path(motion, start, rate=rate, amplitude=amplitude, middle=clip.middle)


def _inside(side: tuple[float, float], radius: float) -> tuple[float, float]:
    """Return the lowest and highest center of a subject between two edges."""
    middle = (side[0] + side[1]) / 2
    return min(side[0] + radius + BORDER, middle), max(side[1] - radius - BORDER, middle)
