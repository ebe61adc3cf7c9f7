"""Does a state dict fit a model? One check, one message, in the file's own key names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from ..errors import CheckpointError

_SHOWN = 5


class HasShape(Protocol):
    """A tensor, in memory or in a file."""

    @property
    def shape(self) -> Sequence[int]: ...


def count_parameters(tensors: Iterable[HasShape]) -> int:
    """Return the number of elements, of `module.parameters()` or `state_dict.values()`."""
    return sum(math.prod(tensor.shape) for tensor in tensors)


def validate_state_dict(
    part: str, expected: Mapping[str, Tensor], got: Mapping[str, Tensor]
) -> None:
    """Raise CheckpointError unless `got` has exactly the keys and shapes of `expected`.

    `part` names the model in the message ("VAE"); `expected` may live on the meta device.
    """
    shared = sorted(expected.keys() & got.keys())
    faults = {
        "missing": sorted(expected.keys() - got.keys()),
        "unexpected": sorted(got.keys() - expected.keys()),
        "mis-shaped": [
            f"{key} {tuple(got[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in shared
            if got[key].shape != expected[key].shape
        ],
    }
    found = [f"{len(keys)} {kind} ({_shorten(keys)})" for kind, keys in faults.items() if keys]
    if found:
        raise CheckpointError(
            f"got {part} weights with {'; '.join(found)}: expected {len(expected)} tensors, "
            f"use a checkpoint made for this model"
        )


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
