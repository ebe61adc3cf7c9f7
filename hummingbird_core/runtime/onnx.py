"""ONNX Runtime: a device is one of its execution providers.

Only the CPU has been tried. Each other provider is in a separate package, which replaces the
package `onnxruntime`; operators that a provider lacks run on the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, InputError, MissingPackageError, one_line

# Device -> execution provider, and the package on PyPI that has it.
PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "migraphx": ("MIGraphXExecutionProvider", "onnxruntime-migraphx"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime"),
    "qnn": ("QNNExecutionProvider", "onnxruntime-qnn"),
    "webgpu": ("WebGpuExecutionProvider", "onnxruntime-webgpu"),
}
ERRORS_ONLY = 3  # severity of log lines


class OnnxRuntime:
    """ONNX Runtime with one execution provider.

    Args:
        device: a key of PROVIDERS.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        InputError: this onnxruntime has no such provider.
    """

    def __init__(self, device: str = "cpu"):
        self._runtime = _import()
        if device not in PROVIDERS:
            raise InputError(
                f"got device {device!r} for onnx, expected one of {', '.join(PROVIDERS)}: choose "
                "one"
            )
        self.provider, package = PROVIDERS[device]
        if self.provider not in self._runtime.get_available_providers():
            raise InputError(
                f"got device {device!r}, but the installed onnxruntime has no {self.provider}: "
                f"install {package} in place of onnxruntime, or use --device cpu"
            )

    def load(self, path: Path) -> OnnxModel:
        """Load a `.onnx` file.

        Raises:
            CheckpointError: the file is damaged, or uses what this onnxruntime lacks.
            InputError: the provider cannot start on this machine.
        """
        options = self._runtime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        # Its threads do not follow OMP_NUM_THREADS by themselves; 0: one for each core.
        threads = os.environ.get("OMP_NUM_THREADS", "")
        options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
        try:
            session = self._runtime.InferenceSession(str(path), options, providers=[self.provider])
        except Exception as error:  # its errors have no common class
            raise CheckpointError(
                f"onnxruntime {self._runtime.__version__} cannot load {path} "
                f"({one_line(error)}): export the model again"
            ) from error
        # Where a provider fails to start, onnxruntime goes on without it.
        if self.provider not in session.get_providers():
            raise InputError(
                f"got {self.provider}, which does not start on this machine: check its driver and "
                "libraries, or use --device cpu"
            )
        return OnnxModel(session)


class OnnxModel:
    """A session with a single output."""

    def __init__(self, session: Any):
        self._session = session

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the model's output; inputs that the graph does not need are left out."""
        names = {node.name for node in self._session.get_inputs()}
        used = {name: value for name, value in inputs.items() if name in names}
        return self._session.run(None, used)[0]


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(
            "--runtime onnx needs the package onnxruntime: pip install onnxruntime"
        ) from error
    return onnxruntime
