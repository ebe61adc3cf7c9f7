"""Videos longer than a model's clips: windows that slide over time, blended, in bounded memory.

At every step the U-Net sees one window of frames after the other. Where windows overlap, the mean
of its predictions counts, each weighted towards the middle of its window: MultiDiffusion (arXiv
2302.08113) along time, as in Gen-L-Video (arXiv 2305.18264). All windows start from the noise of
the first one in another order, so that they show the same things: FreeNoise (arXiv 2310.15169).

A U-Net that is told each frame's place in the clip makes a whole motion in every window: windows
alone would send a shape across the picture again and again. For it, the noisy steps, which decide
where things are, see the whole video through one window of evenly spread frames, and the frames
between are interpolated (coarse to fine, as in NUWA-XL, arXiv 2303.12346).

Frames are the third axis from the end, whatever comes before: `[..., T, h, w]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .guidance import EpsModel
from .schedule import alpha_sigma, predict_x0

KEYFRAME_TIMESTEP = 500  # from here up, an overview; the clearer half of the schedule has windows


@dataclass(frozen=True)
class ContextWindows:
    """How a video is cut into clips for the U-Net.

    Args:
        length: frames that the U-Net sees at once; a video of no more is not cut.
        overlap: frames that neighbouring windows share at least, less than `length`.
        overview: whether noisy steps see evenly spread frames of the whole video instead.
    """

    length: int
    overlap: int
    overview: bool = False

    @classmethod
    def default(
        cls, length: int, overlap: int | None = None, *, overview: bool = False
    ) -> ContextWindows:
        """Windows that share half of their frames, or what `overlap` says.

        With an overview they share three quarters: it leaves few steps to windows, and half left
        borders that can be measured (benchmarks/results/long-video.md).
        """
        if overlap is None:
            overlap = 3 * length // 4 if overview else length // 2
        return cls(length, overlap, overview)

    def are_needed(self, num_frames: int) -> bool:
        return num_frames > self.length

    def is_keyframe_pass(self, t: int) -> bool:
        """Whether the step at timestep `t` sees the whole video at once."""
        return self.overview and t >= KEYFRAME_TIMESTEP

    def count_calls(self, timesteps: Sequence[int], num_frames: int) -> int:
        """Calls of the U-Net that all steps take together."""
        windows = len(window_starts(num_frames, self.length, self.overlap))
        return sum(1 if self.is_keyframe_pass(t) else windows for t in timesteps)


def window_starts(num_frames: int, length: int, overlap: int) -> list[int]:
    """First frames of evenly spread windows that cover all frames; 64, 16, 8: 0, 8, ... 48."""
    room = num_frames - length
    if room <= 0:
        return [0]
    steps = math.ceil(room / (length - overlap))
    return [round(step * room / steps) for step in range(steps + 1)]


def window_weights(length: int) -> Tensor:
    """How much each frame of a window counts, `[length]`: a triangle, highest in the middle.

    With an overlap of half a window, neighbours then fade into each other evenly.
    """
    middle = torch.arange(length) + 0.5
    return torch.minimum(middle, length - middle)


def freenoise_shuffle(noise: Tensor, windows: ContextWindows) -> Tensor:
    """Starting noise in which every window has the frames of the first, in an order of its own.

    An overview sees frames of many windows side by side: for it, noise stays as it is.

    Args:
        noise: independent, `[..., T, h, w]`.
        windows: what it will be sampled with.
    """
    num_frames, stride = noise.shape[-3], windows.length - windows.overlap
    if windows.overview or not windows.are_needed(num_frames):
        return noise
    shared = noise.clone()
    for start in range(windows.length, num_frames, stride):
        count = min(stride, num_frames - start)
        # The same order for every seed: it is the noise that is random.
        generator = torch.Generator().manual_seed(start)
        order = torch.randperm(stride, generator=generator)[:count] + start - windows.length
        shared[..., start : start + count, :, :] = shared[..., order, :, :]
    return shared


def keyframe_indices(num_frames: int, length: int) -> Tensor:
    """`length` evenly spread frames, from the first to the last, `[length]` int64."""
    return torch.linspace(0, num_frames - 1, length).round().long()


def interpolate_frames(frames: Tensor, num_frames: int) -> Tensor:
    """Evenly spread frames `[..., N, h, w]` to all `num_frames`, mixing neighbours linearly."""
    last = frames.shape[-3] - 1
    place = torch.linspace(0, last, num_frames, device=frames.device)
    before = place.floor().long()
    after = (before + 1).clamp(max=last)
    share = (place - before)[:, None, None].to(frames.dtype)
    return torch.lerp(frames[..., before, :, :], frames[..., after, :, :], share)


def blend_windows(
    predict: Callable[[Tensor], Tensor], sample: Tensor, windows: ContextWindows
) -> Tensor:
    """Predictions for all frames from predictions for windows.

    Args:
        predict: of noise or of clean latents, `[..., length, h, w]` to the same or with more axes
            in front; it sees one window at a time.
        sample: `[..., T, h, w]`.
        windows: shorter than T.
    """
    length = windows.length
    starts = window_starts(sample.shape[-3], length, windows.overlap)
    predictions = [predict(sample[..., start : start + length, :, :]) for start in starts]
    weights = window_weights(length)[:, None, None].to(sample)
    blended = predictions[0].new_zeros(*predictions[0].shape[:-3], *sample.shape[-3:])
    total = sample.new_zeros(sample.shape[-3], 1, 1)
    for start, prediction in zip(starts, predictions, strict=True):
        blended[..., start : start + length, :, :] += weights * prediction
        total[start : start + length] += weights
    return blended / total


def predict_keyframes(
    predict: Callable[[Tensor], Tensor], sample: Tensor, windows: ContextWindows
) -> Tensor:
    """Clean latents of all frames from those of some that are evenly spread.

    Args:
        predict: of clean latents, as in `blend_windows`.
        sample: `[..., T, h, w]`.
        windows: shorter than T.
    """
    num_frames = sample.shape[-3]
    chosen = keyframe_indices(num_frames, windows.length)
    return interpolate_frames(predict(sample[..., chosen, :, :]), num_frames)


def sliding_window(predict_noise: EpsModel, windows: ContextWindows) -> EpsModel:
    """A prediction of the noise in videos of any length, from one for clips.

    Args:
        predict_noise: `predict_noise(sample, t)` gives the noise in `[B, 4, T, h, w]` at `t`.
        windows: for what is longer than they are; the rest goes through as it is.
    """

    def predict(sample: Tensor, t: int) -> Tensor:
        if not windows.are_needed(sample.shape[-3]):
            return predict_noise(sample, t)
        if not windows.is_keyframe_pass(t):
            return blend_windows(lambda part: predict_noise(part, t), sample, windows)
        x0 = predict_keyframes(
            lambda part: predict_x0(part, predict_noise(part, t), t), sample, windows
        )
        signal, sigma = alpha_sigma(t, sample)
        return (sample - signal * x0) / sigma

    return predict
