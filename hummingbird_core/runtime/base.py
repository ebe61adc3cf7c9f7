"""The interface of a runtime: load one model file, call it. One file each: `onnx`, `openvino`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

RUNTIMES = ("onnx", "openvino")


class Model(Protocol):
    """One exported model, loaded."""

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the model's output for its named inputs."""


class Runtime(Protocol):
    """A runtime on one device."""

    def load(self, path: Path) -> Model:
        """Load the file of a model.

        Raises:
            CheckpointError: the runtime cannot read it.
        """


def open_runtime(name: str, device: str, dtype: str) -> Runtime:
    """Return a runtime.

    Args:
        name: one of RUNTIMES.
        device: name of a device, as the runtime's file lists them.
        dtype: that the model was exported in.

    Raises:
        MissingPackageError: the runtime is not installed.
        InputError: this installation has no such device.
    """
    if name == "openvino":
        from .openvino import OpenVinoRuntime

        return OpenVinoRuntime(device, dtype)
    from .onnx import OnnxRuntime

    return OnnxRuntime(device)
