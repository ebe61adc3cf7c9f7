"""Export to ONNX files, and their variants of smaller weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import MissingPackageError
from .modules import Part

OPSET = 18  # read by every ONNX Runtime since 1.14, of 2023
MAX_PROTOBUF_BYTES = 2**31  # larger models keep their weights in a second file
# Products whose int8 kernels pay; convolutions in int8 are slower than in fp32 on CPUs.
INT8_OPERATORS = ("MatMul", "Gemm")
FP16_MIN_SIZE = 1024  # values of a tensor: below it, 16 bits save next to nothing


def write_onnx(part: Part, path: Path) -> None:
    """Export a model with the shapes of its example inputs.

    Args:
        part: the model.
        path: the `.onnx` file; weights of 2 GB and more go to `path` with `.data` added.

    Raises:
        MissingPackageError: onnx or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f'export needs the package {error.name}: pip install ".[export]" in the repository'
        ) from error
    inputs = tuple(part.inputs.values())
    with _without_notes():
        program = torch.export.export(part.module, inputs, strict=False)
        converted: Any = torch.onnx.export(
            program,
            inputs,
            input_names=list(part.inputs),
            output_names=["output"],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    converted.save(path)


def quantize_onnx(source: Path, path: Path) -> None:
    """Write a copy of an ONNX model whose matrix products are computed in int8.

    Weights have a scale for each output channel; activations get theirs in every call.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    # It infers the shapes again. Up to onnxruntime 1.23 those that are there make it fail where it
    # has transposed a weight.
    del model.graph.value_info[:]
    with _without_notes():
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=list(INT8_OPERATORS),
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=sum(f.stat().st_size for f in source.parent.iterdir())
            >= MAX_PROTOBUF_BYTES,
        )


def store_as_fp16(source: Path, path: Path) -> None:
    """Write a copy of an ONNX model that stores its weights in fp16 and computes in fp32.

    Runtimes convert the weights once, as they load the file.
    """
    import onnx

    model = onnx.load(source)
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if _is_stored_as_fp16(values):
            name, stored = tensor.name, f"{tensor.name}_fp16"
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), stored))
            casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    is_large = model.ByteSize() >= MAX_PROTOBUF_BYTES
    onnx.save(model, path, save_as_external_data=is_large, location=f"{path.name}.data")


def _is_stored_as_fp16(values: np.ndarray) -> bool:
    # Biases, norms and tables of frequencies and waves feel the rounding, and are small or have one
    # dimension, besides those of length 1.
    is_matrix = values.squeeze().ndim > 1 and values.size >= FP16_MIN_SIZE
    fits = np.abs(values).max(initial=0) <= np.finfo(np.float16).max
    return bool(values.dtype == np.float32 and is_matrix and fits)


@contextmanager
def _without_notes() -> Iterator[None]:
    """Silence what exporters log about their own parts, which users cannot change."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
