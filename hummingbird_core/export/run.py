"""Export a whole model: three files, each checked against PyTorch, and their settings."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError, OutputError
from ..files import atomic_write, remove
from ..pipeline import HummingbirdPipeline
from ..runtime.base import RUNTIMES, Runtime, open_runtime
from ..runtime.folder import (
    SETTINGS_FILE,
    TOKENIZER_FILE,
    ExportSettings,
    describe_files,
    model_file,
    tokenizer_json,
)
from ..unet.model import GUIDANCE_DIM
from .check import TOLERANCES, check_distance, relative_distance
from .modules import Part, VideoShape, parts_of
from .onnx import quantize_onnx, store_as_fp16, write_onnx
from .openvino import write_openvino

# Called with a model's name and its relative distance from PyTorch's.
Report = Callable[[str, float], None]


@dataclass(frozen=True)
class ExportConfig:
    """Kind of an export.

    Args:
        runtime: "onnx" or "openvino".
        dtype: "fp32", "fp16", "fp16-weights" (computed in fp32), or "int8" (matrix products of the
            U-Net; for onnx only).
    """

    runtime: str = "onnx"
    dtype: str = "fp32"

    def of_part(self, name: str) -> ExportConfig:
        """Return the config for one model of the export."""
        # The text encoder runs once a video and its error reaches every step (9 % for nano's in
        # int8); the decoder has hardly a matrix product.
        is_unquantized = self.dtype == "int8" and name != "unet"
        return replace(self, dtype="fp32") if is_unquantized else self

    def check(self) -> None:
        """Raise InputError if there is no such export."""
        for name, value, known in (
            ("runtime", self.runtime, RUNTIMES),
            ("dtype", self.dtype, tuple(TOLERANCES)),
        ):
            if value not in known:
                raise InputError(
                    f"got {name} {value!r}, expected one of {', '.join(known)}: choose one"
                )
        if (self.runtime, self.dtype) == ("openvino", "int8"):
            raise InputError(
                "got int8 for openvino, expected fp32, fp16 or fp16-weights: quantized models are "
                "for onnx"
            )


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Check that an export may be written to `folder`.

    Raises:
        OutputError: something else is there, or an export that may not be replaced.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / SETTINGS_FILE).is_file()):
        raise OutputError(f"{folder} exists and is no exported model: choose another folder")
    if any(folder.iterdir()) and not overwrite:
        raise OutputError(
            f"{folder} holds an exported model: choose another folder, or add --overwrite"
        )


def export_model(
    pipe: HummingbirdPipeline,
    folder: Path,
    shape: VideoShape,
    config: ExportConfig,
    *,
    record: dict[str, Any] | None = None,
    overwrite: bool = False,
    report: Report | None = None,
) -> ExportSettings:
    """Export a pipeline to a folder, which appears only when every model has passed its check.

    Args:
        pipe: float32, on the CPU; for fp16 its models are converted in place.
        folder: the output.
        shape: of the videos that the export will make.
        config: runtime and dtype.
        record: where the model comes from, for the records of videos.
        overwrite: replace an older export.
        report: called after each check.

    Raises:
        InputError: there is no such export.
        CheckpointError: the pipeline lacks a model, or its tokenizer cannot be exported.
        MissingPackageError: a package for the export is not installed.
        NumericalError: an exported model differs from PyTorch's by more than `TOLERANCES`.
        OutputError: the folder exists already, or cannot be written.
    """
    config.check()
    check_folder(folder, overwrite=overwrite)
    runtime = open_runtime(config.runtime, "cpu", config.dtype)
    parts = parts_of(pipe, shape)
    tokenizer = tokenizer_json(pipe.text_encoder.tokenizer)  # type: ignore[union-attr]
    with atomic_write(folder) as temporary:
        temporary.mkdir()
        differences = {}
        for name, part in parts.items():
            path = model_file(temporary, name, config.runtime)
            differences[name] = _export_part(part, path, config.of_part(name), runtime)
            check_distance(name, config.dtype, differences[name])
            if report:
                report(name, differences[name])
        (temporary / TOKENIZER_FILE).write_text(tokenizer, encoding="utf-8")
        settings = ExportSettings(
            runtime=config.runtime,
            dtype=config.dtype,
            model=record or {},
            **_shapes(pipe, parts, shape),
            differences=differences,
            files=describe_files(temporary),
        )
        (temporary / SETTINGS_FILE).write_text(settings.to_json(), encoding="utf-8")
        remove(folder)
    return settings


def _export_part(part: Part, path: Path, config: ExportConfig, runtime: Runtime) -> float:
    """Write one model and return its relative distance from PyTorch's in float32."""
    expected = part().numpy()
    if config.dtype == "fp16":
        part.module.to(torch.float16)
    if (config.runtime, config.dtype) in (("onnx", "fp32"), ("onnx", "fp16")):
        write_onnx(part, path)
    else:
        with tempfile.TemporaryDirectory(dir=path.parent) as middle:
            source = Path(middle) / f"{path.stem}.onnx"
            write_onnx(part, source)
            _convert(source, path, config)
    inputs: dict[str, np.ndarray] = {name: value.numpy() for name, value in part.inputs.items()}
    return relative_distance(runtime.load(path)(inputs), expected)


def _convert(source: Path, path: Path, config: ExportConfig) -> None:
    if config.runtime == "openvino":
        write_openvino(source, path, fp16_weights=config.dtype == "fp16-weights")
    elif config.dtype == "fp16-weights":
        store_as_fp16(source, path)
    else:
        quantize_onnx(source, path)


def _shapes(pipe: HummingbirdPipeline, parts: Any, shape: VideoShape) -> dict[str, Any]:
    config = pipe.unet.config
    return {
        "height": shape.height,
        "width": shape.width,
        "num_frames": shape.num_frames,
        "latent_shape": tuple(parts["unet"].inputs["sample"].shape),
        "decode_chunk_size": len(parts["decoder"].inputs["latents"]),
        "guidance_dim": GUIDANCE_DIM if config.guidance_embedding else None,
        "dynamic_rescale": config.dynamic_rescale,
        "cfg_start_timestep": config.cfg_start_timestep,
    }
