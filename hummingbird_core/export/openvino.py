"""Export to OpenVINO's files, by way of ONNX.

OpenVINO's own converter for torch gives the same values, but takes ten times as long.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import MissingPackageError


def write_openvino(source: Path, path: Path, *, fp16_weights: bool = False) -> None:
    """Convert an ONNX model to a `.xml` file, with its weights in a `.bin` file beside it.

    Args:
        source: the ONNX model.
        path: the `.xml` file.
        fp16_weights: store fp32 weights in fp16; otherwise they stay as they are.

    Raises:
        MissingPackageError: openvino is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingPackageError(
            'this export needs the package openvino: pip install ".[export]" in the repository'
        ) from error
    model = openvino.Core().read_model(source)
    openvino.save_model(model, path, compress_to_fp16=fp16_weights)
