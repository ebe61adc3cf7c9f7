"""A reward for clips of moving shapes: colour, shape and motion compared with the caption.

Every measure is smooth in the pixels, so that it can be optimized. The measures differ from those
of `nano.readers.shapes`, which stays a held-out metric: shapes are classified by their moments
instead of their bounding box, colours by distance in RGB instead of angle, motion by the halves of
a clip instead of a fitted line.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ...nano.world.captions import WAYS
from ...nano.world.looks import COLORS, SHAPES
from ...nano.world.paths import DIRECTIONS
from .base import strided_frames

BLUR = 1.2  # pixels; carries gradients from the edge of a shape to the pixels beyond it
SOFT_EDGE = (0.1, 0.9)  # share of the shape's colour at which its soft edge begins and ends
MIN_SHAPE_CONTRAST = 0.2  # RGB distance in 0..1; an image with less shows no shape
SHAPE_QUANTILE = 0.975  # of the contrasts of a clip: the smallest shape fills 9 % of the image
COLOR_TOLERANCE = 0.25  # RGB distance in 0..1 at which the score has fallen to 0.71
STANDSTILL = 4.0  # pixels: a travel of this length scores 0.71 of what a long one does

# Ideal signatures (see `shape_signature`), integrated over the outlines of `nano.world.looks`:
# compactness, then the real and imaginary parts of the moments of order 2, 3 and 4.
SIGNATURES = {
    "circle": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "square": (3 / math.pi, 0.0, 0.0, 0.0, 0.0, -3 / 5, 0.0),
    # As high as it is wide, apex on top: mean squared radius 7/72 of the squared height.
    "triangle": (18 / (7 * math.pi), -1 / 7, 0.0, 0.0, 0.7941, 0.0490, 0.0),
}
# The distance in each number at which the score has fallen to 0.71.
SIGNATURE_TOLERANCE = (0.15, 0.2, 0.2, 0.3, 0.3, 0.25, 0.25)

# Captions of the built-in world that it can score, for `RewardConfig.captions`: color, shape (all
# that has a color) and direction of one subject on a plain background.
SCORED_CAPTIONS = (
    r"^(?!.*\b(and|while|over|desert|night)\b).*"
    rf"({'|'.join(COLORS)}) .*(left|right|up|down|top|bottom)"
)

_WORD_DIRECTION = {way.split()[-1]: name for name, ways in WAYS.items() for way in ways}


@dataclass(frozen=True)
class ShapesReward:
    """Mean of a colour, a shape and a motion score, in 0..1.

    Attributes:
        num_frames: frames scored in a clip, evenly apart; all if it has fewer.
    """

    num_frames: int = 8
    name: str = "shapes"

    def __call__(self, frames: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """Score clips `[B, 3, K, H, W]` in -1..1, K > 1: `[B]`; `generator` is not used.

        Raises:
            InputError: a caption lacks a colour, a shape or a direction.
        """
        scores = aspect_scores(measure_shapes(frames), captions)
        return torch.stack(list(scores.values())).mean(dim=0)

    def frames_needed(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """Choose evenly spaced frames, see `Reward`; motion is measured from first to last."""
        return strided_frames(num_frames, min(num_frames, self.num_frames), generator)


def aspect_scores(measures: ShapeMeasures, captions: list[str]) -> dict[str, Tensor]:
    """Return scores `[B]` in 0..1 for "colour", "shape" and "direction".

    Raises:
        InputError: a caption lacks one of them.
    """
    colours, shapes, directions = zip(*map(read_caption, captions), strict=True)
    return {
        "colour": _color_score(measures.color, colours),
        "shape": _shape_score(measures.signature, shapes),
        "direction": _direction_score(measures.travel, directions),
    }


def read_caption(caption: str) -> tuple[str, str, str]:
    """Return the colour, shape and direction a caption names.

    Raises:
        InputError: it lacks one of them.
    """
    words = re.findall("[a-z]+", caption.lower())
    colour = next((word for word in words if word in COLORS), None)
    shape = next((word for word in words if word in SHAPES), None)
    direction = next((_WORD_DIRECTION[word] for word in words if word in _WORD_DIRECTION), None)
    if colour is None or shape is None or direction is None:
        raise InputError(
            f"got the caption {caption!r}, expected a colour ({', '.join(COLORS)}), a shape "
            f"({', '.join(SHAPES)}) and a direction ({', '.join(DIRECTIONS)}): the reward 'shapes' "
            "needs all three"
        )
    return colour, shape, direction


# --- measures ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShapeMeasures:
    """Measured colour, shape and motion of clips.

    Attributes:
        color: `[B, 3]`, RGB in 0..1 well inside the shape.
        signature: `[B, T, 7]`, see `shape_signature`.
        travel: `[B, 2]`, x and y in pixels, from the first frame to the last.
    """

    color: Tensor
    signature: Tensor
    travel: Tensor


def measure_shapes(frames: Tensor) -> ShapeMeasures:
    """Measure clips `[B, 3, T, H, W]` in -1..1; differentiable."""
    video = (frames.float() + 1) / 2
    cover = soft_cover(video)
    moments = central_moments(cover)
    return ShapeMeasures(
        _color(video, cover), shape_signature(moments.powers), _travel(moments.centroid)
    )


def soft_cover(video: Tensor) -> Tensor:
    """Return the share of each pixel covered by the shape: `[B, 3, T, H, W]` to `[B, T, H, W]`.

    A soft threshold (smoothstep) on the contrast to the background, relative to that of the shape:
    noise on the background does not count, however far from the shape it is.
    """
    difference = _blur(video) - _background(video)[:, :, None, None, None]
    contrast = difference.square().sum(dim=1).add(1e-8).sqrt()  # [B, T, H, W]
    reference = (
        contrast.detach().flatten(1).quantile(SHAPE_QUANTILE, dim=1).clamp(MIN_SHAPE_CONTRAST)
    )
    low, high = SOFT_EDGE
    x = ((contrast / reference[:, None, None, None] - low) / (high - low)).clamp(0, 1)
    return x * x * (3 - 2 * x)


def _background(video: Tensor) -> Tensor:
    """Return the colour `[B, 3]`: the median along all frames' borders, without gradient."""
    top_bottom, left_right = video[..., (0, -1), :], video[..., (0, -1)]
    border = torch.cat([top_bottom.flatten(2), left_right.flatten(2)], dim=2)  # [B, 3, 2T(H + W)]
    return border.detach().median(dim=2).values


def _blur(video: Tensor) -> Tensor:
    """Blur every frame with a Gaussian, as a matrix product along each axis: same shape."""
    return _blur_matrix(video.shape[-2], video) @ video @ _blur_matrix(video.shape[-1], video).T


def _blur_matrix(size: int, like: Tensor) -> Tensor:
    """Return the blur matrix `[size, size]`; rows sum to 1, also at the borders."""
    x = torch.arange(size, device=like.device, dtype=like.dtype)
    return (-0.5 * ((x[:, None] - x) / BLUR).square()).softmax(dim=1)


@dataclass(frozen=True)
class Moments:
    """Centroid and central moments of the soft cover of each frame.

    Attributes:
        centroid: `[B, T, 2]`, x and y in pixels.
        powers: central moments `[B, T, 5, 5]`: at [.., q, p] the sum of cover x^p y^q.
    """

    centroid: Tensor
    powers: Tensor


def central_moments(cover: Tensor) -> Moments:
    """Return all moments up to order four in x and in y of `[B, T, H, W]`."""
    height, width = cover.shape[-2:]
    y = torch.arange(height, device=cover.device, dtype=cover.dtype)
    x = torch.arange(width, device=cover.device, dtype=cover.dtype)
    area = cover.sum(dim=(-2, -1)).clamp(min=1e-3)
    centre_x = (cover.sum(dim=-2) * x).sum(dim=-1) / area  # [B, T]
    centre_y = (cover.sum(dim=-1) * y).sum(dim=-1) / area
    exponents = torch.arange(5, device=cover.device)
    x_powers = (x - centre_x[..., None])[..., None] ** exponents  # [B, T, W, 5]
    y_powers = (y - centre_y[..., None])[..., None] ** exponents  # [B, T, H, 5]
    powers = y_powers.transpose(-1, -2) @ cover @ x_powers
    return Moments(torch.stack([centre_x, centre_y], dim=-1), powers)


def shape_signature(powers: Tensor) -> Tensor:
    """Return seven numbers, invariant to size and position: `[..., 5, 5]` to `[..., 7]`.

    Compactness, area^2 / (2 pi (mu_20 + mu_02)), is 1 for a disc and less for others. The complex
    moments E[(x + iy)^n] / E[x^2 + y^2]^(n/2) show n-fold symmetry: n = 2 an elongated shape, n = 3
    a triangle, n = 4 a square (Flusser, "On the independence of rotation moment invariants", 2000;
    here they are not made invariant to rotation, since squares and triangles stand upright). An
    even blur does not change their numerators.
    """
    area = powers[..., 0, 0].clamp(min=1e-3)
    m = {(p, q): powers[..., q, p] / area for p in range(5) for q in range(5) if p + q <= 4}
    # At least a pixel's own spread, so that an empty image has a signature: all zeros.
    radius = (m[2, 0] + m[0, 2]).clamp(min=1 / 6).sqrt()
    compactness = area / (2 * math.pi * radius**2)
    return torch.stack(
        [
            compactness,
            (m[2, 0] - m[0, 2]) / radius**2,
            2 * m[1, 1] / radius**2,
            (m[3, 0] - 3 * m[1, 2]) / radius**3,
            (3 * m[2, 1] - m[0, 3]) / radius**3,
            (m[4, 0] - 6 * m[2, 2] + m[0, 4]) / radius**4,
            4 * (m[3, 1] - m[1, 3]) / radius**4,
        ],
        dim=-1,
    )


def _color(video: Tensor, cover: Tensor) -> Tensor:
    """Return the mean `[B, 3]` of the pixels well inside, without gradient to the outline."""
    inside = (cover.detach() > 0.9).to(video.dtype)[:, None]  # [B, 1, T, H, W]
    return (video * inside).sum(dim=(2, 3, 4)) / inside.sum(dim=(2, 3, 4)).clamp(min=1)


def _travel(centroid: Tensor) -> Tensor:
    """Return twice the shift between the halves' mean positions: `[B, T, 2]` to `[B, 2]`."""
    half = centroid.shape[1] // 2
    return 2 * (centroid[:, -half:].mean(dim=1) - centroid[:, :half].mean(dim=1))


# --- scores --------------------------------------------------------------------------------------


def _closeness(squared_distance: Tensor) -> Tensor:
    """Return 1 at distance zero, 0.71 at one; the gradient never vanishes, even from afar."""
    return (1 + squared_distance).rsqrt()


def _color_score(colour: Tensor, wanted: tuple[str, ...]) -> Tensor:
    error = colour - colour.new_tensor([COLORS[name] for name in wanted])  # [B, 3]
    return _closeness((error / COLOR_TOLERANCE).square().sum(dim=1))


def _shape_score(signature: Tensor, wanted: tuple[str, ...]) -> Tensor:
    """Return the mean over the frames: `[B, T, 7]` to `[B]`."""
    ideal = signature.new_tensor([SIGNATURES[name] for name in wanted])[:, None]  # [B, 1, 7]
    error = (signature - ideal) / signature.new_tensor(SIGNATURE_TOLERANCE)
    return _closeness(error.square().sum(dim=2)).mean(dim=1)


def _direction_score(travel: Tensor, wanted: tuple[str, ...]) -> Tensor:
    """Return 0 for a long way in the opposite direction, 1/2 for none, 1 for the right one."""
    heading = travel.new_tensor([DIRECTIONS[name] for name in wanted])  # [B, 2]
    length = (travel.square().sum(dim=1) + STANDSTILL**2).sqrt()
    return (1 + (travel * heading).sum(dim=1) / length) / 2
