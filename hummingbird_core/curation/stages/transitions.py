"""Find dissolves and fades in a stream of frames, without weights.

While a scene A dissolves into B, a frame is (1 - a) A + a B with a from 0 to 1. The scenes are
unrelated, so the energy of the detail in each region of the picture is (1 - a)^2 E_A + a^2 E_B: it
dips to half in the middle, in all regions at once. A pan, a shaking camera or an object changes the
energy of one region or another; a flash or a change of light ends in the scene where it began; the
blur of a fast pan follows another curve. In a fade, the contrast goes steadily to that of a blank
frame, or comes from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange

GRID = 4  # regions along each axis
DETAIL_SIDE = 64  # pixels of the longer side, about, of the frames whose detail is measured
SECONDS = (0.2, 2.1)  # shortest and longest transition
LENGTHS = 12  # lengths that are tried in between
MAX_DIP = 0.68  # energy in the middle over the mean of both ends: 0.5 in theory, 1 in a pan
REGION_DIP, MIN_REGIONS = 0.85, 0.9  # this share of the regions has to dip below that
MAX_ERROR = 0.13  # mean deviation from the theory; made dissolves have up to 0.1, fast pans 0.17
MIN_DISTANCE = 0.055  # of the colors of both ends; made dissolves have 0.066 and more
WIDENING = 0.12  # of the length, on both sides: a dissolve that starts gently looks shorter
FADE_GROWTH = 1.02  # least growth of the contrast in FADE_STEP frames, away from the blank ones
FADE_STEP = 3
MIN_FADE = 3  # frames
MIN_FADE_RATIO = 2.0  # contrast at the bright end of a fade over that at its dark end
MAX_WAITING = 2**28  # bytes of frames that wait until it is known whether a transition begins

TRANSITIONS = ("dissolve", "fade")
AFTER = "scene"  # boundary after a transition


@dataclass
class Marked:
    """A frame on its way through the search.

    Attributes:
        frame: uint8 [H, W, 3].
        look: what the distance between two frames is computed from.
        boundary: why a clip begins here, "" if none does.
        is_blank: whether the frame has one color.
        energy: [GRID * GRID], mean square of the steps between neighboring pixels in each region.
        contrast: standard deviation of the pixels, of 255.
        is_fading: whether it belongs to a fade.
    """

    frame: np.ndarray
    look: Any
    boundary: str
    is_blank: bool
    energy: np.ndarray
    contrast: float
    is_fading: bool = False


def measure_detail(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """Return `energy` and `contrast` of a frame, uint8 [H, W, 3]; see `Marked`."""
    step = max(1, max(frame.shape[:2]) // (2 * DETAIL_SIDE))
    image = torch.from_numpy(np.ascontiguousarray(frame[::step, ::step], dtype=np.float32))
    image = rearrange(image, "h w c -> c h w")
    small = _halved(image) if min(image.shape[1:]) >= 4 else image  # averages grain
    if min(small.shape[1:]) < 2:
        return np.ones(GRID * GRID), 0.0
    down, right = small.diff(dim=1)[:, :, :-1], small.diff(dim=2)[:, :-1]
    steps = (down * down + right * right).mean(0, keepdim=True)  # [1, h-1, w-1]
    energy = F.adaptive_avg_pool2d(steps, GRID).flatten().double().numpy()
    return energy + 1e-3, float(small.std(correction=0))


def _halved(image: torch.Tensor) -> torch.Tensor:
    """Average 2 x 2 pixels of `[C, H, W]`, faster than `avg_pool2d`."""
    height, width = (side // 2 * 2 for side in image.shape[1:])
    rows = image[:, 0:height:2] + image[:, 1:height:2]
    return (rows[:, :, 0:width:2] + rows[:, :, 1:width:2]) / 4


def mark_transitions(
    frames: Iterator[Marked], fps: float, distance: Callable[[Any, Any], float]
) -> Iterator[Marked]:
    """Yield the frames with the boundaries of dissolves and fades added.

    The boundary of a transition's first frame is "dissolve" or "fade", that of the first frame
    after it "scene", unless another one lies there.

    Args:
        frames: with the boundaries of cuts and blank frames.
        fps: frames per second.
        distance: of two looks.
    """
    lengths = _lengths(fps)
    window = list(islice(frames, 1))
    capacity = lengths[-1] * 8 // 5 + 3  # starts later by a third, is widened by an eighth
    if window:
        capacity = min(capacity, max(2, MAX_WAITING // window[0].frame.nbytes))
    checked = 0  # frames at the head that are known to begin no transition
    while True:
        for mark in islice(frames, max(0, capacity - len(window))):
            window.append(mark)
            if mark.boundary == "blank" and mark.is_blank:
                _mark_fade_out(window)
        if not window:
            return
        if window[0].boundary == "blank" and not window[0].is_blank:
            _mark_fade_in(window)
        if checked > 0:
            checked -= 1
        elif found := _find_dissolve(window, lengths, distance):
            checked = _mark(window, "dissolve", *found)
        yield window.pop(0)


def _lengths(fps: float) -> list[int]:
    seconds = np.geomspace(*SECONDS, LENGTHS)
    return sorted({max(3, round(length * fps)) for length in seconds})


def _find_dissolve(
    window: Sequence[Marked], lengths: Sequence[int], distance: Callable[[Any, Any], float]
) -> tuple[int, int] | None:
    """Return the first and the last frame of a dissolve that begins at the head, or None.

    If one fits there, those that begin a little later are compared, too.
    """
    at_head = _errors(window, 0, lengths, distance)
    if not at_head:
        return None
    later = range(1, 1 + max(at_head) // 3)
    found = {0: at_head, **{start: _errors(window, start, lengths, distance) for start in later}}
    errors = {(start, n): error for start, each in found.items() for n, error in each.items()}
    start, length = min(errors, key=errors.__getitem__)
    wider = max(1, round(WIDENING * length))
    first = max(0, start + 1 - wider)
    cuts = [index for index in range(first + 1, start + 2) if window[index].boundary]
    return (cuts[-1] if cuts else first), start + length + wider


def _errors(
    window: Sequence[Marked],
    start: int,
    lengths: Sequence[int],
    distance: Callable[[Any, Any], float],
) -> dict[int, float]:
    """Return for each length of a dissolve after frame `start` that fits: the error.

    The frames before and after a dissolve show one scene each.
    """
    dipping = _dipping(window, start, lengths)
    errors = {length: _error(window[start : start + length + 2], distance) for length in dipping}
    return {length: error for length, error in errors.items() if error is not None}


def _dipping(window: Sequence[Marked], start: int, lengths: Sequence[int]) -> list[int]:
    """Return the lengths in whose middle the energies dip as in a dissolve, all tried at once."""
    inside = [length for length in lengths if start + length + 1 < len(window)]
    if not inside:
        return []
    after = np.stack([window[start + length + 1].energy for length in inside])  # [L, regions]
    middle = np.stack([window[start + (length + 1) // 2].energy for length in inside])
    dips = 2 * middle / (window[start].energy + after)
    is_dip = np.median(dips, axis=1) <= MAX_DIP
    is_dip &= (dips < REGION_DIP).mean(axis=1) >= MIN_REGIONS
    return [length for length, dip in zip(inside, is_dip, strict=True) if dip]


def _error(part: Sequence[Marked], distance: Callable[[Any, Any], float]) -> float | None:
    """Return the mean deviation of the energies from those of a dissolve.

    Args:
        part: the last frame before it, its frames, the first frame after it.
        distance: of two looks.

    Returns:
        None if they are no dissolve.
    """
    if any(mark.boundary for mark in part[1:]) or any(_is_dim(mark) for mark in part):
        return None
    a = np.linspace(0, 1, len(part))[:, None]
    theory = (1 - a) ** 2 * part[0].energy + a**2 * part[-1].energy  # [len(part), regions]
    ratios = np.median(np.stack([mark.energy for mark in part]) / theory, axis=1)
    error = float(np.abs(np.log(ratios)).mean())
    if error > MAX_ERROR or distance(part[0].look, part[-1].look) < MIN_DISTANCE:
        return None
    return error


def _is_dim(mark: Marked) -> bool:
    return mark.is_blank or mark.is_fading


def _mark(window: Sequence[Marked], kind: str, first: int, last: int) -> int:
    """Mark a transition from frame `first` to `last`; return the number of frames up to its end."""
    last = min(last, len(window) - 2)  # a frame has to be left that ends it
    inside = [i for i in range(first + 1, last + 1) if window[i].boundary]
    last = inside[0] - 1 if inside else last  # widened beyond a cut
    window[first].boundary = kind
    if not window[last + 1].boundary:
        window[last + 1].boundary = AFTER
    return last + 1


def _mark_fade_out(window: Sequence[Marked]) -> None:
    """Mark the fade that ends before the last frame of the window, the first blank one."""
    earlier = window[:-1][::-1]  # from the blank frame backwards
    if count := _fade_length(earlier):
        _mark_fade(window[-1 - count :], count)


def _mark_fade_in(window: Sequence[Marked]) -> None:
    """Mark the fade that begins at the head of the window, after blank frames."""
    if count := _fade_length(window):
        _mark_fade(window, count)


def _mark_fade(window: Sequence[Marked], count: int) -> None:
    for mark in window[:count]:
        mark.boundary, mark.is_fading = "", True  # in a short fade, frames differ as at cuts
    _mark(window, "fade", 0, count - 1)


def _fade_length(away: Sequence[Marked]) -> int:
    """Return the number of frames of a fade, 0 if there is none.

    Args:
        away: the frames next to the blank one, away from it.
    """
    count = 0
    for index, mark in enumerate(away):
        count = index + 1
        further = away[min(index + FADE_STEP, len(away) - 1)]
        if mark.is_blank or further.contrast < FADE_GROWTH * mark.contrast:
            break
    is_fade = count >= MIN_FADE and away[count - 1].contrast > MIN_FADE_RATIO * away[0].contrast
    return count if is_fade else 0
