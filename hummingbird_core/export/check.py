"""The check of an exported model: its output against PyTorch's in float32."""

from __future__ import annotations

import numpy as np

from ..errors import NumericalError

# Largest |exported - torch| / |torch| that passes, by the dtype of the export.
TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2, "fp16-weights": 1e-2, "int8": 5e-2}


def relative_distance(got: np.ndarray, expected: np.ndarray) -> float:
    """Return |got - expected| / |expected| over all values; infinite if any is not finite."""
    distance = np.linalg.norm((got - expected).astype(np.float64).ravel())
    relative = float(distance / np.linalg.norm(expected.astype(np.float64).ravel()))
    return relative if np.isfinite(relative) else float("inf")


def check_distance(name: str, dtype: str, distance: float) -> None:
    """Raise NumericalError if an exported model is too far from PyTorch's."""
    if distance > TOLERANCES[dtype]:
        advice = "report this" if dtype == "fp32" else "export with --dtype fp32"
        raise NumericalError(
            f"got {name} at a relative distance of {distance:.1e} from PyTorch's fp32, expected at "
            f"most {TOLERANCES[dtype]:.0e} in {dtype}: {advice}"
        )
