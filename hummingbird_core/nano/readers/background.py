"""Reader of backgrounds: a plain tone or a place, and what the camera does.

A place is known by the colors of its sky and land. Its hills are fitted by least squares under each
move that the camera could make; the move with the smallest error wins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..world.camera import PAN_SPEED, ZOOM, Camera
from ..world.paths import FRAME_SIZE
from ..world.places import HILL_LENGTH, HORIZON, PLACE_COLORS, Background, Color

SHRINK = 2
MEAN_HORIZON = sum(HORIZON) / 2
EDGE_ROWS = 2  # rows of the shrunk video that are surely sky, or land
MAX_PLAIN_DEVIATION = 0.03  # median distance of border pixels from their median, RGB in 0..1
MAX_COLOR_DISTANCE = 0.12  # root mean square over the colors of a place
MAX_MIX_ERROR = 0.12  # of a pixel as a mix of sky and land; else it belongs to a subject
MIN_VERTICAL_PAN = 3.5  # pixels in the whole clip
TRIMMED_SHARE = 0.8  # share of the columns that fit a skyline best
MIN_GAIN = 0.75  # error of a moving camera against a resting one: less is a move


@dataclass(frozen=True)
class BackgroundReading:
    """The background of a video.

    Attributes:
        place: "" for a plain background, None if undecided.
        tone: "dark" or "light", of a plain background.
        camera: one of `CAMERA_MOVES`, None if it rests.
        video: the background without subjects, `[T, 3, H/2, W/2]` in 0..1.
    """

    place: str | None
    tone: str | None
    camera: str | None
    video: Tensor


def shrink(video: Tensor) -> Tensor:
    """Return `[T, 3, H, W]` at half its size: a sixteenth of the correlations."""
    return F.avg_pool2d(video, SHRINK)


def read_background(video: Tensor, seconds: Tensor) -> BackgroundReading:
    """Read the background of a shrunk video `[T, 3, H/2, W/2]` in 0..1 at times `[T]`."""
    border = torch.cat([video[..., 0], video[..., -1], video[..., 0, :], video[..., -1, :]], -1)
    color = border.transpose(0, 1).flatten(1).median(dim=1).values  # [3]
    deviation = (border - color[:, None]).abs().amax(dim=1).median()
    if deviation < MAX_PLAIN_DEVIATION:
        plain = color[:, None, None].expand(video.shape)
        return BackgroundReading("", "dark" if color.mean() < 0.5 else "light", None, plain)
    top = _median_color(video[..., :EDGE_ROWS, :])
    land = _median_color(video[..., -EDGE_ROWS:, :])
    place, bottom = _place(top, land)
    background, camera = _fit_skyline(video, seconds, top, bottom, land)
    return BackgroundReading(place, None, camera.move, shrink(_frames(background, camera, seconds)))


def _median_color(pixels: Tensor) -> Tensor:
    return pixels.transpose(0, 1).flatten(1).median(dim=1).values


def _frames(background: Background, camera: Camera, seconds: Tensor) -> Tensor:
    return background.draw(camera, seconds).transpose(0, 1)  # [3, T, H, W] -> [T, 3, H, W]


def _place(top: Tensor, land: Tensor) -> tuple[str | None, Tensor]:
    """Return the place with the nearest colors, and the color of its sky at the horizon."""
    seen = torch.cat([top, land])
    distances = {
        name: float((torch.tensor([*sky, *ground]) - seen).square().mean().sqrt())
        for name, (sky, _, ground) in PLACE_COLORS.items()
    }
    nearest = min(distances, key=lambda name: distances[name])
    sky, bottom, _ = (torch.tensor(color) for color in PLACE_COLORS[nearest])
    known = nearest if distances[nearest] < MAX_COLOR_DISTANCE else None
    return known, (bottom + top - sky).clamp(0, 1)


def _fit_skyline(
    video: Tensor, seconds: Tensor, top: Tensor, bottom: Tensor, land: Tensor
) -> tuple[Background, Camera]:
    """Fit the hills under every move of the camera and return the best."""
    heights, is_seen = _column_heights(video, top, bottom, land)
    duration = max(float(seconds[-1]), 1e-3)
    fits = [
        (*_best_hills(heights, is_seen, seconds, camera), camera) for camera in _cameras(duration)
    ]
    resting = fits[0]
    best = min(fits, key=lambda fit: fit[0])
    _, hills, camera = best if best[0] < MIN_GAIN * resting[0] else resting
    camera = _vertical(hills, camera, duration)
    background = Background(
        _color(top),
        _color(bottom),
        _color(land),
        horizon=float(hills.coefficients[0]),
        hill_height=float(hills.coefficients[1:3].norm()),
        hill_length=hills.length,
        hill_phase=math.atan2(float(hills.coefficients[2]), float(hills.coefficients[1])),
    )
    return background, camera


def _color(channels: Tensor) -> Color:
    red, green, blue = channels.tolist()
    return red, green, blue


def _column_heights(
    video: Tensor, top: Tensor, bottom: Tensor, land: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the horizon in each column, `[T, W]` in full-size pixels, and where it is seen."""
    rows = torch.arange(video.shape[-2], dtype=torch.float32)[:, None]
    middle = video.shape[-2] * MEAN_HORIZON
    share = (rows / middle).clamp(max=1)[None]  # [1, H, 1]
    sky = top[:, None, None] + (bottom - top)[:, None, None] * share  # [3, H, 1]
    step = land[:, None, None] - sky
    # Each pixel as sky + p (land - sky).
    p = ((video - sky) * step).sum(dim=1) / step.square().sum(dim=0)  # [T, H, W]
    p = p.clamp(0, 1)
    error = (video - sky - p[:, None] * step).abs().amax(dim=1)
    is_seen = error.amax(dim=1) < MAX_MIX_ERROR  # [T, W]
    return SHRINK * (video.shape[-2] - p.sum(dim=1)), is_seen


@dataclass(frozen=True)
class _Hills:
    """Fitted coefficients: horizon, sine and cosine of the hills, vertical pixels a second."""

    coefficients: Tensor
    length: float


def _best_hills(
    heights: Tensor, is_seen: Tensor, seconds: Tensor, camera: Camera
) -> tuple[float, _Hills]:
    """Return the trimmed mean error and the hills of the best length."""
    lengths = torch.linspace(*HILL_LENGTH, 7).tolist()
    fits = [_hills(heights, is_seen, seconds, camera, length) for length in lengths]
    return min(fits, key=lambda fit: fit[0])


def _hills(
    heights: Tensor, is_seen: Tensor, seconds: Tensor, camera: Camera, length: float
) -> tuple[float, _Hills]:
    """Solve height = 32 + s (h + a sin(k x) + b cos(k x) - 32) + v t by least squares."""
    columns = heights.shape[1]
    middle = FRAME_SIZE / 2
    scale = camera.scales(seconds)[:, None]
    shift = camera.shifts(seconds)[0][:, None]
    centers = SHRINK * (torch.arange(columns) + 0.5)
    angle = 2 * math.pi * (middle + (centers - middle) / scale - shift) / length  # [T, W]
    time = (seconds - seconds[-1] / 2)[:, None].expand_as(angle)
    size = scale.expand_as(angle)
    drift = time if camera.move is None else torch.zeros_like(time)
    terms = torch.stack([size, size * angle.sin(), size * angle.cos(), drift], dim=-1)
    target = heights - middle + size * middle
    a, b = terms[is_seen], target[is_seen]  # [N, 4], [N]
    if len(b) < columns:
        return math.inf, _Hills(torch.tensor([MEAN_HORIZON * FRAME_SIZE, 0.0, 0.0, 0.0]), length)
    keep = torch.ones(len(b), dtype=torch.bool)
    for _ in range(3):  # trimmed: columns behind a subject that looks like sky or land
        solution = _solve(a[keep], b[keep])
        error = (a @ solution - b).abs()
        keep = error <= error.quantile(TRIMMED_SHARE)
    return float(error[keep].mean()) + 0.05, _Hills(solution, length)


def _solve(a: Tensor, b: Tensor) -> Tensor:
    ridge = 1e-3 * torch.eye(a.shape[1])
    return torch.linalg.solve(a.T @ a + ridge, a.T @ b)


def _vertical(hills: _Hills, camera: Camera, duration: float) -> Camera:
    """Return the camera, or a vertical pan if a resting one saw the horizon move."""
    speed = float(hills.coefficients[3])
    if camera.move or abs(speed) * duration < MIN_VERTICAL_PAN:
        return camera
    # The camera pans up when all moves down.
    return Camera("pan up" if speed > 0 else "pan down", abs(speed), 1.0, duration)


def _cameras(duration: float) -> Iterator[Camera]:
    """Yield a resting camera first, which may drift vertically, then pans and zooms."""
    yield Camera(None, duration=duration)
    for way in ("left", "right"):
        for speed in torch.linspace(*PAN_SPEED, 5).tolist():
            yield Camera(f"pan {way}", speed, duration=duration)
    for way in ("in", "out"):
        for zoom in torch.linspace(*ZOOM, 3).tolist():
            yield Camera(f"zoom {way}", 0.0, zoom, duration)
