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

SPEED = (4.0, 14.0)  # pixels a second, of motions across the frame
RATE = (0.4, 1.1)  # periods a second, of periodic motions
# Speeds and rates that are called slow and quick; those between have no name.
SLOWEST_SPEEDS, QUICKEST_SPEEDS = (4.0, 6.5), (10.0, 14.0)
SLOWEST_RATES, QUICKEST_RATES = (0.4, 0.56), (0.86, 1.1)
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


@dataclass(frozen=True)
class Area:
    """The part of the frame in which a subject stays; x and y are low and high, in pixels."""

    x: tuple[float, float] = (0.0, FRAME_SIZE)
    y: tuple[float, float] = (0.0, FRAME_SIZE)


@dataclass(frozen=True)
class Path:
    """Position and rotation of a subject over time.

    Attributes:
        motion: one of `MOTIONS`.
        start: center, (x, y) in pixels: in the first frame, or in the middle of a periodic motion.
        speed: pixels a second of a motion across the frame, else 0.
        rate: periods a second of a periodic motion, else 0; negative spins counterclockwise.
        amplitude: pixels, of a periodic motion.
        phase: of a periodic motion in the first frame, radians.
    """

    motion: str
    start: tuple[float, float]
    speed: float = 0.0
    rate: float = 0.0
    amplitude: float = 0.0
    phase: float = 0.0

    @property
    def pace(self) -> str | None:
        """Return "slowly", "quickly", or None between them."""
        slow, quick = pace_limits(self.motion)
        value = self.speed or abs(self.rate)
        if value <= slow:
            return "slowly"
        return "quickly" if value >= quick else None

    def centers(self, seconds: Tensor) -> Tensor:
        """Return x and y in pixels at times `[T]`: `[2, T]`."""
        angle = 2 * math.pi * self.rate * seconds + self.phase
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
        return 2 * math.pi * self.rate * seconds + self.phase


def pace_limits(motion: str) -> tuple[float, float]:
    """Return the fastest slow and the slowest quick speed, or rate, of a motion."""
    if motion in DIRECTIONS:
        return SLOWEST_SPEEDS[1], QUICKEST_SPEEDS[0]
    return SLOWEST_RATES[1], QUICKEST_RATES[0]


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
    drawn = _draw_pace(rng, SPEED, SLOWEST_SPEEDS, QUICKEST_SPEEDS)
    speed = min(drawn, (high - low) / clip.duration)
    # The way that is left is split at random between before the start and after the end.
    along = rng.uniform(low, high - speed * clip.duration)
    if motion in ("left", "up"):
        along = low + high - along
    across = rng.uniform(*_inside(area.y if dx else area.x, radius))
    return Path(motion, (along, across) if dx else (across, along), speed=speed)


def _periodic_path(rng: random.Random, motion: str, clip: Clip, radius: float, area: Area) -> Path:
    amplitude = {"spin": 0.0, "hover": HOVER_AMPLITUDE}.get(motion, rng.uniform(*AMPLITUDE))
    rate = _draw_pace(rng, RATE, SLOWEST_RATES, QUICKEST_RATES)
    if clip.loop:  # whole periods
        rate = max(round(rate * clip.duration), 1) / clip.duration
    if motion == "spin":
        rate *= rng.choice((-1, 1))
    reach = radius * TURNING_REACH if motion == "spin" else radius
    x, y = (_inside(side, reach) for side in (area.x, area.y))
    dx, dy = (1, 1) if motion == "hover" else SWINGS.get(motion, (0, 0))
    rooms = [(high - low) / 2 for d, (low, high) in ((dx, x), (dy, y)) if d]
    amplitude = min([amplitude, *rooms])
    start = (
        rng.uniform(x[0] + dx * amplitude, x[1] - dx * amplitude),
        rng.uniform(y[0] + dy * amplitude, y[1] - dy * amplitude),
    )
    return Path(motion, start, rate=rate, amplitude=amplitude, phase=rng.uniform(0, 2 * math.pi))


def _inside(side: tuple[float, float], radius: float) -> tuple[float, float]:
    """Return the lowest and highest center of a subject between two edges."""
    middle = (side[0] + side[1]) / 2
    return min(side[0] + radius + BORDER, middle), max(side[1] - radius - BORDER, middle)


def _draw_pace(
    rng: random.Random,
    values: tuple[float, float],
    slow: tuple[float, float],
    quick: tuple[float, float],
) -> float:
    """Draw a third of the values anywhere, a third slow and a third quick."""
    return rng.uniform(*rng.choice((values, slow, quick)))
