"""The reward for moving shapes: right captions win, and climbing it ends at what was asked for."""

from __future__ import annotations

import re
from itertools import islice, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.shape_clips import shape_clips, stated

from hummingbird_core.errors import InputError
from hummingbird_core.nano.readers.shapes import ShapeReading, read_shape_scene
from hummingbird_core.nano.world.looks import COLORS, SHAPES, signed_distance
from hummingbird_core.nano.world.paths import DIRECTIONS
from hummingbird_core.nano.world.stream import samples
from hummingbird_core.training.rewards.shapes import (
    SCORED_CAPTIONS,
    SIGNATURES,
    ShapeMeasures,
    ShapesReward,
    aspect_scores,
    central_moments,
    measure_shapes,
    read_caption,
    shape_signature,
)

SCENES = [scene for scene, _ in islice(shape_clips(5), 60)]
CLIPS = torch.stack([scene.render() for scene in SCENES]) * 2 - 1  # [60, 3, 16, 64, 64]


def blurred(clips: torch.Tensor) -> torch.Tensor:
    """About what a weak decoder makes of them: half the resolution, and some noise."""
    small = F.avg_pool3d(clips, (1, 2, 2))
    large = F.interpolate(small, scale_factor=(1, 2, 2), mode="trilinear")
    noise = torch.randn(clips.shape, generator=torch.Generator().manual_seed(0))
    return large + 0.06 * noise


def captioned(colour: str, shape: str, direction: str) -> str:
    return f"a {colour} {shape} moves {direction}"


@pytest.mark.parametrize("look", [lambda clips: clips, blurred], ids=["sharp", "blurred"])
def test_the_right_caption_beats_all_71_wrong_ones(look):
    measures = measure_shapes(look(CLIPS))
    words = list(product(COLORS, SHAPES, DIRECTIONS))
    scores = torch.stack([score(measures, captioned(*three)) for three in words])  # [72, 60]
    for number, scene in enumerate(SCENES):
        right = words.index(stated(scene))
        best, second = scores[:, number].topk(2).values
        assert scores[:, number].argmax() == right
        assert best > 0.95
        assert best - second > 0.12


def score(measures: ShapeMeasures, caption: str) -> torch.Tensor:
    scores = aspect_scores(measures, [caption] * len(measures.color))
    return sum(scores.values()) / 3


def test_the_reward_is_the_mean_of_its_aspects():
    captions = [captioned(*stated(scene)) for scene in SCENES[:2]]
    parts = aspect_scores(measure_shapes(CLIPS[:2]), captions)
    reward = ShapesReward()(CLIPS[:2], captions, torch.Generator())
    torch.testing.assert_close(reward, sum(parts.values()) / 3)


def test_captions_of_the_world_are_read():
    for scene, text in islice(shape_clips(11), 200):
        assert read_caption(text) == stated(scene)
    with pytest.raises(InputError, match="expected a colour"):
        read_caption("a hummingbird moves left")


def test_the_captions_that_the_reward_can_score():
    chosen = 0
    for _, said, text in islice(samples(4), 2000):
        first, *others = said.mentions
        is_plain = not others and not said.place
        expected = is_plain and first.color is not None and first.motion in DIRECTIONS
        assert bool(re.search(SCORED_CAPTIONS, text)) == expected, text
        if expected:
            chosen += 1
            assert read_caption(text) == (first.color, first.subject, first.motion)
    assert chosen > 100


@pytest.mark.parametrize("shape", SHAPES)
def test_signatures_are_those_of_finely_drawn_shapes(shape):
    """The constants come from integrals; here the same outlines are summed over many pixels."""
    grid = torch.linspace(-160, 160, 321, dtype=torch.float64)
    distance = signed_distance(shape, grid[None, :], grid[:, None], torch.tensor(120.0))
    cover = (0.5 - distance).clamp(0, 1)[None, None]
    signature = shape_signature(central_moments(cover).powers)[0, 0]
    expected = torch.tensor(SIGNATURES[shape], dtype=torch.float64)
    torch.testing.assert_close(signature, expected, atol=0.005, rtol=0)


def test_a_still_picture_is_neither_right_nor_wrong_about_direction():
    still = CLIPS[:1, :, :1].expand(-1, -1, 16, -1, -1)
    for direction in DIRECTIONS:
        score = aspect_scores(measure_shapes(still), [captioned("red", "circle", direction)])[
            "direction"
        ]
        assert score.item() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("level", [-1.0, 0.0])
def test_an_empty_picture_scores_low_and_has_finite_gradients(level):
    empty = torch.full((1, 3, 8, 64, 64), level, requires_grad=True)
    score = ShapesReward()(empty, ["a cyan square moves up"], torch.Generator())
    score.sum().backward()
    assert score < 0.4
    assert empty.grad.isfinite().all()


def rounded_squares(corner: float, num_frames: int = 8) -> torch.Tensor:
    """A blue square with round corners, moving right: between a square and a circle."""
    radius, pixels = 12.0, torch.arange(64) + 0.5
    centre = torch.linspace(20, 44, num_frames)
    x = (pixels[None, None, :] - centre[:, None, None]).abs() - (radius - corner)
    y = (pixels[None, :, None] - 32).abs() - (radius - corner)
    beyond = (x.clamp(min=0).square() + y.clamp(min=0).square()).sqrt()
    distance = beyond + torch.maximum(x, y).clamp(max=0) - corner  # [T, H, W]
    cover = (0.5 - distance).clamp(0, 1)
    colour = torch.tensor(COLORS["blue"])[:, None, None, None]
    return (0.1 + cover * (colour - 0.1)) * 2 - 1  # [3, T, H, W]


def read(clip: torch.Tensor) -> ShapeReading:
    frames = ((clip.permute(1, 2, 3, 0) + 1) * 127.5).clamp(0, 255).round()
    return read_shape_scene(frames.numpy().astype(np.uint8))


@pytest.mark.parametrize("shape", SHAPES)
def test_there_is_a_slope_from_a_shape_that_is_not_yet_right(shape):
    clip = rounded_squares(corner=7.0)[None].requires_grad_()
    score = aspect_scores(measure_shapes(clip), [captioned("blue", shape, "right")])["shape"]
    assert 0.05 < score.item() < 0.9
    (gradient,) = torch.autograd.grad(score.sum(), clip)
    assert gradient.flatten(2).norm(dim=2).min() > 1e-4


def paint(levels: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    """A stand-in for a decoder: levels `[T, 16, 16]` above zero are inside; `[1, 3, T, 64, 64]`."""
    levels = F.interpolate(levels[:, None], scale_factor=4, mode="bicubic")[:, 0]
    cover = (2 * levels).sigmoid()
    return (0.1 + cover * (colour[:, None, None, None] - 0.1))[None] * 2 - 1


@pytest.mark.parametrize(
    ("colour", "shape", "direction"),
    [("blue", "square", "right"), ("magenta", "circle", "right"), ("cyan", "triangle", "right")],
)
def test_climbing_the_reward_ends_at_what_the_reader_calls_the_same(colour, shape, direction):
    """From one blob to each shape; the reader judges only the end."""
    clip = rounded_squares(corner=6.0, num_frames=4)
    cover = F.avg_pool2d(clip[2], 4)  # [T, 16, 16], of the blue
    levels = (6 * (cover - cover.mean())).requires_grad_()
    tint = torch.tensor([0.5, 0.5, 0.9], requires_grad=True)
    optimizer = torch.optim.Adam([{"params": levels, "lr": 0.3}, {"params": tint, "lr": 0.03}])
    before, first = read(paint(levels, tint)[0].detach()), None
    assert before != ShapeReading(colour, shape, direction)
    for _ in range(60):
        frames = paint(levels, tint)
        reward = ShapesReward()(frames, [captioned(colour, shape, direction)], torch.Generator())
        first = reward.item() if first is None else first
        optimizer.zero_grad()
        (-reward.sum()).backward()
        optimizer.step()
    assert reward > max(0.9, first)
    assert read(frames[0].detach()) == ShapeReading(colour, shape, direction)
