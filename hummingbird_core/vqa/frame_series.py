"""The measures of single frames, gathered over a video in constant memory."""

from __future__ import annotations

import numpy as np

from .frame_measures import CLIPPED, blockiness, blur, is_black, is_flat

LOOKS_PER_SECOND = 4  # for blur and blockiness, which cost most and change slowly


class FrameSeries:
    """Takes frames one by one; `results` are means over them."""

    def __init__(self, fps: float):
        self._every = max(1, round(fps / LOOKS_PER_SECOND))
        self._count = 0
        self._sums: dict[str, float] = {}
        self._looks: dict[str, list[float]] = {"blur": [], "blockiness": []}

    def add(self, frame: np.ndarray, y: np.ndarray, not_finite: float) -> bool:
        """Takes a frame `[H, W, 3]` and its luma `[H, W]`; returns whether it shows anything."""
        black = is_black(y)
        flat = not black and is_flat(frame, y)
        self._add("nan_fraction", not_finite)
        self._add("black_fraction", black)
        self._add("flat_fraction", flat)
        self._add("brightness", y.mean() / 255)
        self._add("contrast", y.std() / 255)
        self._add("dark_clipped", (y <= CLIPPED[0]).mean())
        self._add("bright_clipped", (y >= CLIPPED[1]).mean())
        is_blank = black or flat
        if self._count % self._every == 0 and not is_blank:
            for name, value in (("blur", blur(y)), ("blockiness", blockiness(y))):
                if value is not None:
                    self._looks[name].append(value)
        self._count += 1
        return not is_blank

    def _add(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def results(self) -> dict[str, float]:
        """`num_frames`, means, and medians of what was looked at; nothing for what never was."""
        means = {name: total / self._count for name, total in self._sums.items()}
        medians = {name: float(np.median(found)) for name, found in self._looks.items() if found}
        return {"num_frames": float(self._count), **means, **medians}
