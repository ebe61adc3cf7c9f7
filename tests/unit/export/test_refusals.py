"""Refusals before an export is written, and the check of each model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.exported import SHAPE, random_pipeline

from hummingbird_core.errors import CheckpointError, InputError, NumericalError, OutputError
from hummingbird_core.export.check import check_distance, relative_distance
from hummingbird_core.export.modules import Part, parts_of
from hummingbird_core.export.run import ExportConfig, export_model
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.runtime.pipeline import ExportedPipeline

pytest.importorskip("onnx", reason="needs the packages of the extra `export`")
pytest.importorskip("onnxscript", reason="needs the packages of the extra `export`")
pytest.importorskip("onnxruntime", reason="needs the packages of the extra `export`")


@pytest.fixture(scope="module")
def student() -> HummingbirdPipeline:
    return random_pipeline()


def test_a_model_that_differs_is_not_written(tmp_path):
    broken = random_pipeline()
    next(broken.text_encoder.parameters()).data.fill_(float("nan"))
    with pytest.raises(NumericalError, match="got text at a relative distance of inf"):
        export_model(broken, tmp_path / "out", SHAPE, ExportConfig())
    assert list(tmp_path.iterdir()) == []


def test_the_check_has_a_limit_for_each_dtype():
    check_distance("unet", "int8", 0.049)
    with pytest.raises(NumericalError, match="expected at most 1e-02 in fp16"):
        check_distance("unet", "fp16", 0.011)
    nothing = np.full(3, np.nan)
    assert relative_distance(nothing, np.ones(3)) == float("inf")


def test_another_folder_is_never_replaced(student, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="is no exported model"):
        export_model(student, tmp_path, SHAPE, ExportConfig(), overwrite=True)
    assert (tmp_path / "photo.png").read_bytes() == b"mine"


def test_quantized_models_are_for_onnx_only(student, tmp_path):
    with pytest.raises(InputError, match="got int8 for openvino"):
        export_model(student, tmp_path / "out", SHAPE, ExportConfig("openvino", "int8"))


def test_a_checkpoint_without_vae_is_refused(student):
    with pytest.raises(CheckpointError, match="without text encoder or VAE"):
        parts_of(HummingbirdPipeline(student.unet), SHAPE)


def test_example_inputs_are_those_of_a_video(student):
    parts = parts_of(student, SHAPE)
    assert {name: list(part.inputs) for name, part in parts.items()} == {
        "text": ["ids"],
        "unet": ["sample", "timestep", "encoder_hidden_states", "fps", "timestep_cond"],
        "decoder": ["latents"],
    }
    assert all(isinstance(part, Part) and part().dtype == torch.float32 for part in parts.values())


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="expected the folder of an exported model"):
        ExportedPipeline(tmp_path, "onnx")
