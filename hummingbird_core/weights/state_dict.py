"""Validation of a state dict against a model, with one message in the file's own key names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from ..errors import CheckpointError

_SHOWN = 5  # names in a message
_LENGTH = 200  # letters of each


class HasShape(Protocol):
    """A tensor, in memory or in a file."""

    @property
    def shape(self) -> Sequence[int]:
        """Size of each dimension."""
        ...


def count_parameters(tensors: Iterable[HasShape]) -> int:
    """Return the number of elements, of `module.parameters()` or `state_dict.values()`."""
    return sum(math.prod(tensor.shape) for tensor in tensors)


def validate_state_dict(
    model: str, expected: Mapping[str, HasShape], got: Mapping[str, HasShape]
) -> None:
    """Check that `got` has exactly the keys and shapes of `expected`.

    Args:
        model: name of the model in the message, such as "VAE".
        expected: state dict of the model, or the shapes of its tensors.
        got: state dict to check, or the shapes.

    Raises:
        CheckpointError: keys are missing, unexpected or mis-shaped.
    """
    shared = sorted(expected.keys() & got.keys())
    mismatches = {
        "missing": sorted(expected.keys() - got.keys()),
        "unexpected": sorted(got.keys() - expected.keys()),
        "mis-shaped": [
            f"{key} {tuple(got[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in shared
            if tuple(got[key].shape) != tuple(expected[key].shape)
        ],
    }
    found = [f"{len(keys)} {kind} ({_shorten(keys)})" for kind, keys in mismatches.items() if keys]
    if found:
        raise CheckpointError(
            f"got {model} weights with {'; '.join(found)}: expected {len(expected)} tensors, "
            f"use a checkpoint made for this model"
        )


def _shorten(names: list[str]) -> str:
    shown = ", ".join(name[:_LENGTH] for name in names[:_SHOWN])
    return shown + (", ..." if len(names) > _SHOWN else "")
