"""Videos longer than a model's clips: windows that slide over time, blended, in bounded memory.

At every step the U-Net sees one window of frames after the other. Where windows overlap, the mean
of its predictions counts, each weighted towards the middle of its window: MultiDiffusion (arXiv
2302.08113) along time, as in Gen-L-Video (arXiv 2305.18264). All windows start from the noise of
the first one in another order, so that they show the same things: FreeNoise (arXiv 2310.15169).

A U-Net with a frame position embedding makes a whole motion in every window: windows alone would
send a shape across the picture again and again. Its noisy steps, which decide where things are, are
a keyframe pass: one window of evenly spread frames of the whole video, with the frames between
interpolated (coarse to fine, as in NUWA-XL, arXiv 2303.12346).

In a loop windows and keyframes go on from the last frame to the first, so that no place differs.

Frames are the third axis from the end, whatever comes before: `[..., T, h, w]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .clip_frames import ClipEpsModel, ClipFrames
from .guidance import EpsModel
from .schedule import alpha_sigma, predict_x0

KEYFRAME_TIMESTEP = 500  # from here up, a keyframe pass; the clearer half of the steps has windows


@dataclass(frozen=True)
class ContextWindows:
    """The clips that a video is cut into for the U-Net.

    Args:
        length: frames that the U-Net sees at once; a video of no more is not cut.
        overlap: frames that neighboring windows share at least, less than `length`.
        keyframe_pass: whether noisy steps see evenly spread frames of the whole video instead.
        loop: whether the first frame follows the last one.
    """

    length: int
    overlap: int
    keyframe_pass: bool = False
    loop: bool = False

    @classmethod
    def default(
        cls,
        length: int,
        overlap: int | None = None,
        *,
        keyframe_pass: bool = False,
        loop: bool = False,
    ) -> ContextWindows:
        """Return windows that share half of their frames, or `overlap`.

        With a keyframe pass they share three quarters: few steps are left to windows, and half left
        borders that can be measured (benchmarks/results/long-video.md).
        """
        if overlap is None:
            overlap = 3 * length // 4 if keyframe_pass else length // 2
        return cls(length, overlap, keyframe_pass, loop)

    def are_needed(self, num_frames: int) -> bool:
        """Return whether a video of `num_frames` is longer than a window."""
        return num_frames > self.length

    def is_keyframe_pass(self, t: int) -> bool:
        """Return whether the step at timestep `t` sees the whole video at once."""
        return self.keyframe_pass and t >= KEYFRAME_TIMESTEP

    def count_calls(self, timesteps: Sequence[int], num_frames: int) -> int:
        """Return how often all steps together call the U-Net."""
        windows = len(self.clips(num_frames))
        return sum(1 if self.is_keyframe_pass(t) else windows for t in timesteps)

    def clips(self, num_frames: int) -> list[ClipFrames]:
        """Return the frames of each window; those of a loop go on with the first frame."""
        starts = window_starts(num_frames, self.length, self.overlap, loop=self.loop)
        length = min(self.length, num_frames)
        return [ClipFrames((torch.arange(length) + start) % num_frames) for start in starts]

    def keyframes(self, num_frames: int) -> ClipFrames:
        """Return the evenly spread frames of a keyframe pass."""
        return ClipFrames(keyframe_indices(num_frames, self.length, loop=self.loop), self.loop)


def window_starts(num_frames: int, length: int, overlap: int, *, loop: bool = False) -> list[int]:
    """Return first frames of evenly spread windows over all frames; 64, 16, 8: 0, 8, ... 48.

    In a loop one more lies across the end: 0, 8, ... 48, 56.
    """
    room = num_frames - length  # the last window starts here
    if room <= 0:
        return [0]
    if loop:
        # n = ceil(T / (length - overlap)) windows around the circle: s_k = round(k T / n)
        count = math.ceil(num_frames / (length - overlap))
        return [round(k * num_frames / count) for k in range(count)]
    # As few windows as overlap enough: n - 1 = ceil(room / (length - overlap)) strides.
    steps = math.ceil(room / (length - overlap))
    # s_k = round(k room / (n - 1)), k = 0 ... n - 1: both ends of the video are covered.
    return [round(step * room / steps) for step in range(steps + 1)]


def window_weights(length: int) -> Tensor:
    """Return the weight of each frame of a window, `[length]`: a triangle, highest in the middle.

    With an overlap of half a window, neighbors then fade into each other evenly.
    """
    middle = torch.arange(length) + 0.5  # of frame i, which reaches from i to i + 1
    # w_i = min(i + 1/2, length - i - 1/2)
    return torch.minimum(middle, length - middle)


def freenoise_shuffle(noise: Tensor, windows: ContextWindows) -> Tensor:
    """Return starting noise in which every window has the first one's frames in another order.

    A keyframe pass sees frames of many windows in one: for it, noise stays as it is.

    Args:
        noise: independent, `[..., T, h, w]`.
        windows: of the sampling.
    """
    num_frames, stride = noise.shape[-3], windows.length - windows.overlap
    if windows.keyframe_pass or not windows.are_needed(num_frames):
        return noise
    # A window across the end of a loop would hold the noise of one frame twice, if the last frames
    # shared theirs without being a whole window.
    end = num_frames - num_frames % windows.length if windows.loop else num_frames
    # eps_(s + j) = eps_(s - length + p(j)) for the frames s + j that the next window adds, p a
    # permutation of 0 ... stride - 1
    shared = noise.clone()
    for start in range(windows.length, end, stride):
        count = min(stride, end - start)
        # Frames a stride further are frames a window before, permuted (FreeNoise, section 3.2). The
        # same order for every seed: it is the noise that is random.
        generator = torch.Generator().manual_seed(start)
        order = torch.randperm(stride, generator=generator)[:count] + start - windows.length
        shared[..., start : start + count, :, :] = shared[..., order, :, :]
    return shared


def keyframe_indices(num_frames: int, length: int, *, loop: bool = False) -> Tensor:
    """Return `length` evenly spread frames, from the first to the last, `[length]` int64.

    In a loop the step from the last of them to the first is as long as the others.
    """
    if loop:
        # k_j = round(j T / N), j = 0 ... N - 1
        return (torch.arange(length) * num_frames / length).round().long()
    # k_j = round(j (T - 1) / (N - 1)), j = 0 ... N - 1
    return torch.linspace(0, num_frames - 1, length).round().long()


def interpolate_frames(frames: Tensor, num_frames: int, *, loop: bool = False) -> Tensor:
    """Interpolate evenly spread frames `[..., N, h, w]` linearly to all `num_frames`."""
    count = frames.shape[-3]
    if loop:
        # Frame i lies at i N / T, and behind the last of the N frames the first one follows.
        place = torch.arange(num_frames, device=frames.device) * count / num_frames
    else:
        # Frame i lies at i (N - 1) / (T - 1) between the N frames.
        place = torch.linspace(0, count - 1, num_frames, device=frames.device)
    before = place.floor().long()
    after = (before + 1) % count if loop else (before + 1).clamp(max=count - 1)
    share = (place - before)[:, None, None].to(frames.dtype)  # [T, 1, 1]
    # x_i = (1 - r) x_before + r x_after, r the share
    return torch.lerp(frames[..., before, :, :], frames[..., after, :, :], share)


def blend_windows(
    predict: Callable[[Tensor, ClipFrames], Tensor], sample: Tensor, windows: ContextWindows
) -> Tensor:
    """Return predictions for all frames from predictions for windows.

    Args:
        predict: of noise or of clean latents, `[..., length, h, w]` to the same or with more axes
            in front; it sees one window at a time, and which frames these are.
        sample: `[..., T, h, w]`.
        windows: shorter than T.
    """
    clips = windows.clips(sample.shape[-3])
    # [..., length, h, w] each; one after the other, for the memory of one window
    predictions = [predict(clip.of_latents(sample), clip) for clip in clips]
    # eps(x)_i = sum_k w_(i - s_k) eps_k / sum_k w_(i - s_k), over windows k that start at s_k
    weights = window_weights(windows.length)[:, None, None].to(sample)  # [length, 1, 1]
    # [..., T, h, w] and [T, 1, 1]
    blended = predictions[0].new_zeros(*predictions[0].shape[:-3], *sample.shape[-3:])
    total = sample.new_zeros(sample.shape[-3], 1, 1)
    for clip, prediction in zip(clips, predictions, strict=True):
        blended[..., clip.frames, :, :] += weights * prediction  # no frame is twice in a window
        total[clip.frames] += weights
    return blended / total


def predict_keyframes(
    predict: Callable[[Tensor, ClipFrames], Tensor], sample: Tensor, windows: ContextWindows
) -> Tensor:
    """Return clean latents of all frames from those of evenly spread keyframes.

    Args:
        predict: of clean latents, as in `blend_windows`.
        sample: `[..., T, h, w]`.
        windows: shorter than T.
    """
    num_frames = sample.shape[-3]
    clip = windows.keyframes(num_frames)
    # Clean latents change little from frame to frame, so between keyframes a line will do; their
    # noise is independent and could not be interpolated.
    x0 = predict(clip.of_latents(sample), clip)
    return interpolate_frames(x0, num_frames, loop=windows.loop)


def sliding_window(predict_noise: ClipEpsModel, windows: ContextWindows) -> EpsModel:
    """Return a prediction of the noise in videos of any length, from one for clips.

    Args:
        predict_noise: `predict_noise(sample, t, clip)` gives the noise in the frames `clip` of a
            video, `[B, 4, N, h, w]`, at `t`.
        windows: for longer videos; shorter ones are predicted at once.
    """

    def predict(sample: Tensor, t: int) -> Tensor:
        if not windows.are_needed(sample.shape[-3]):
            return predict_noise(sample, t, ClipFrames(loop=windows.loop))
        if not windows.is_keyframe_pass(t):
            return blend_windows(lambda part, clip: predict_noise(part, t, clip), sample, windows)

        def clean(part: Tensor, clip: ClipFrames) -> Tensor:
            return predict_x0(part, predict_noise(part, t, clip), t)

        x0 = predict_keyframes(clean, sample, windows)  # of all frames from those of the keyframes
        # eps = (x_t - sqrt(a_t) x_0) / sqrt(1 - a_t)
        alpha, sigma = alpha_sigma(t, sample)  # [1, 1, 1, 1, 1] each
        return (sample - alpha * x0) / sigma

    return predict
