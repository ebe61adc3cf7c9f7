"""OpenVINO, for Intel's processors, GPUs and NPUs; only the CPU has been tried.

It reads its own `.xml` files, and `.onnx` files, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, InputError, MissingPackageError, one_line


class OpenVinoRuntime:
    """OpenVINO on one device.

    Args:
        device: "cpu", "gpu", "gpu.1", "npu" or "auto".
        dtype: that the model was exported in.

    Raises:
        MissingPackageError: openvino is not installed.
        InputError: OpenVINO finds no such device.
    """

    def __init__(self, device: str = "cpu", dtype: str = "fp32"):
        self._core = _import().Core()
        self.device = device.upper()
        found = self._core.available_devices
        # A machine with one GPU calls it GPU, with several GPU.0, GPU.1, ...
        known = {name for full in found for name in (full, full.partition(".")[0])} | {"AUTO"}
        if self.device not in known:
            raise InputError(
                f"got device {device!r}, but OpenVINO finds {', '.join(found).lower()} only: "
                "choose one of these, or install the driver"
            )
        # Without this, processors with bfloat16 compute in it.
        is_fp32 = dtype in ("fp32", "fp16-weights")
        self._config = {"INFERENCE_PRECISION_HINT": "f32"} if is_fp32 else {}

    def load(self, path: Path) -> OpenVinoModel:
        """Load and compile a `.xml` or `.onnx` file.

        Raises:
            CheckpointError: the file is damaged, or uses what this OpenVINO lacks.
        """
        try:
            model = self._core.read_model(path)
            return OpenVinoModel(self._core.compile_model(model, self.device, self._config))
        except RuntimeError as error:
            raise CheckpointError(
                f"OpenVINO cannot load {path} ({one_line(error)}): export the model again"
            ) from error


class OpenVinoModel:
    """A compiled model with a single output."""

    def __init__(self, compiled: Any):
        self._compiled = compiled

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the model's output; inputs that the graph does not need are left out."""
        names = {name for node in self._compiled.inputs for name in node.names}
        used = {name: value for name, value in inputs.items() if name in names}
        return self._compiled(used)[0].copy()  # the next call overwrites it


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingPackageError(
            "--runtime openvino needs the package openvino: pip install openvino"
        ) from error
    return openvino
