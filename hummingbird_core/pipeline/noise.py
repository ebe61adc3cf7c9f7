"""All noise of a call: from a seed, from the user's generators, or the user's own latents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ..errors import InputError
from ..sampling.context_windows import ContextWindows, freenoise_shuffle
from ..sampling.noise import initial_noise, step_noises

DEFAULT_FRAMES = 16
Generators = Generator | Sequence[Generator]


@dataclass(frozen=True)
class LatentShape:
    """Shape `[batch, channels, num_frames, height, width]` of latents."""

    batch: int
    channels: int
    num_frames: int
    height: int
    width: int

    def __iter__(self) -> Iterator[int]:
        yield from (self.batch, self.channels, self.num_frames, self.height, self.width)


@dataclass(frozen=True)
class Noise:
    """Starting noise, and the noise that is added between steps.

    Attributes:
        latents: `[B, 4, T, h, w]`.
        steps: endless, each like `latents`.
    """

    latents: Tensor
    steps: Iterator[Tensor]


def draw_noise(
    shape: LatentShape,
    windows: ContextWindows,
    seed: int | None,
    generator: Generators | None,
    latents: Tensor | None,
) -> Noise:
    """Return the noise of a call.

    Args:
        shape: of the latents.
        windows: of a long video, whose drawn noise is shuffled (FreeNoise, arXiv 2310.15169).
        seed: of the first video; None: 0.
        generator: drawn from in place of a seed, first the starting noise and then that of each
            step; one for all videos, or one for each.
        latents: starting noise, used as it is.

    Raises:
        InputError: both a seed and a generator are given, or a shape or number does not fit.
    """
    size = tuple(shape)
    check_generators(shape.batch, seed, generator)
    if generator is None:
        drawn, steps = initial_noise(size, seed or 0), step_noises(size, seed or 0)
    else:
        steps = _generator_noises(size, generator)
        drawn = next(steps) if latents is None else latents
    start = freenoise_shuffle(drawn, windows) if latents is None else latents
    return Noise(start, steps)


def check_generators(batch: int, seed: int | None, generator: Generators | None) -> None:
    """Raise InputError for both a seed and a generator, or for another number of generators."""
    if generator is None:
        return
    if seed is not None:
        raise InputError("got a seed and a generator, expected one of them: leave out the seed")
    if not isinstance(generator, Generator) and len(generator) != batch:
        raise InputError(
            f"got {len(generator)} generators for {batch} videos, expected one for each, or a "
            "single one for all"
        )


def check_latents(latents: Tensor, shape: LatentShape) -> None:
    """Raise InputError unless latents have this shape."""
    if tuple(latents.shape) != tuple(shape):
        raise InputError(
            f"got latents of shape {tuple(latents.shape)}, expected {tuple(shape)}, that is "
            "[prompts, channels, frames, height / 8, width / 8]: leave out num_frames, height and "
            "width to take them from the latents"
        )


def _generator_noises(shape: tuple[int, ...], generator: Generators) -> Iterator[Tensor]:
    """Yield endless noise, drawn where the generators are."""
    if isinstance(generator, Generator):
        while True:
            yield torch.randn(shape, generator=generator, device=generator.device)
    while True:
        single = [torch.randn(shape[1:], generator=g, device=g.device) for g in generator]
        yield torch.stack(single)
