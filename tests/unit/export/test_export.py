"""Exported models: equal to PyTorch's, written whole or not at all, and refused where they differ.

The runner is tested here, too: an export takes seconds, and one serves all tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.command_line import error_of, run
from support.exported import ONE_LEVEL, SHAPE, random_pipeline
from support.paths import ROOT

from hummingbird_core.errors import CheckpointError, InputError, NumericalError
from hummingbird_core.export.check import TOLERANCES, relative_distance
from hummingbird_core.export.modules import parts_of
from hummingbird_core.export.onnx import FP16_MIN_SIZE, store_as_fp16, write_onnx
from hummingbird_core.export.openvino import write_openvino
from hummingbird_core.export.run import ExportConfig, export_model
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.runtime.base import open_runtime
from hummingbird_core.runtime.folder import MODELS, SETTINGS_FILE, describe_files, read_settings
from hummingbird_core.runtime.pipeline import ExportedPipeline
from hummingbird_core.training.nano.build import save_model
from hummingbird_core.video import read_metadata, read_video

onnx = pytest.importorskip("onnx", reason="needs the packages of the extra `export`")
pytest.importorskip("onnxscript", reason="needs the packages of the extra `export`")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the packages of the extra `export`")

PROMPT = "a red circle moves right"
SMALL = {"num_frames": 3, "num_inference_steps": 2}
LEVELS = 1.0  # mean difference of finished frames, of 255
TEACHER = replace(
    ONE_LEVEL,
    guidance_embedding=False,
    v_prediction=False,
    frame_phase=False,
    frame_seconds=False,
    dynamic_rescale=True,
    cfg_start_timestep=500,
)
# Packages that the runner must not need.
FORBIDDEN = ("torch", "einops", "safetensors", "transformers", "diffusers", "av", "onnx", "scipy")


@pytest.fixture(scope="module")
def student() -> HummingbirdPipeline:
    return random_pipeline()


@pytest.fixture(scope="module")
def exported(student, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "student"
    export_model(student, folder, SHAPE, ExportConfig(), record={"model": "tiny"})
    return folder


def change_settings(folder: Path, **changes) -> None:
    """Set fields of an export, and describe its files as they are now."""
    (folder / SETTINGS_FILE).rename(old := folder.parent / "old.json")
    values = json.loads(old.read_text())
    changes["files"] = describe_files(folder)
    (folder / SETTINGS_FILE).write_text(json.dumps({**values, **changes}))


@pytest.fixture
def copy(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def test_each_model_equals_pytorchs(exported):
    differences = read_settings(exported).differences
    assert differences.keys() == {"text", "unet", "decoder"}
    assert max(differences.values()) < 1e-5


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_seed_is_the_same_video_as_in_pytorch(student, exported, steps):
    settings = {"num_frames": 3, "num_inference_steps": steps, "fps": 12, "guidance_scale": 9.0}
    expected = student(PROMPT, seed=7, **settings)
    got = ExportedPipeline(exported, "onnx")(PROMPT, seed=7, **settings)
    assert relative_distance(got.latents, expected.latents.numpy()) < 1e-3
    assert np.abs(got.frames.astype(int) - expected.frames).mean() < LEVELS / 10


def test_a_swing_goes_there_and_back_as_in_pytorch(student, exported):
    settings = {"num_frames": 4, "num_inference_steps": 1, "loop": "swing"}
    expected = student(PROMPT, **settings).frames
    got = ExportedPipeline(exported, "onnx")(PROMPT, **settings).frames
    assert got.shape == (1, 4, 16, 32, 3)
    assert np.abs(got.astype(int) - expected).mean() < LEVELS / 10


def test_a_teacher_is_guided_as_in_pytorch(copy):
    teacher = random_pipeline(TEACHER)  # its text encoder is the student's, drawn first
    write_onnx(parts_of(teacher, SHAPE)["unet"], copy / "unet.onnx")
    traits = {"guidance_dim": None, "dynamic_rescale": True, "cfg_start_timestep": 500}
    change_settings(copy, **traits)
    settings = {"num_frames": 3, "num_inference_steps": 5}
    got = ExportedPipeline(copy, "onnx")(PROMPT, seed=2, **settings)
    expected = teacher(PROMPT, seed=2, **settings)
    assert relative_distance(got.latents, expected.latents.numpy()) < 1e-3


def test_openvino_runs_its_own_and_onnx_files(student, exported, copy):
    pytest.importorskip("openvino", reason="needs the package openvino")
    for name in MODELS:
        write_openvino(copy / f"{name}.onnx", copy / f"{name}.xml")
        (copy / f"{name}.onnx").unlink()
    change_settings(copy, runtime="openvino")
    expected = student(PROMPT, **SMALL).frames
    for folder in (exported, copy):
        got = ExportedPipeline(folder, "openvino")(PROMPT, **SMALL).frames
        assert np.abs(got.astype(int) - expected).mean() < LEVELS / 10
    with pytest.raises(InputError, match="exported for openvino"):
        ExportedPipeline(copy, "onnx")
    with pytest.raises(InputError, match="OpenVINO finds cpu"):
        ExportedPipeline(exported, "openvino", "gpu.7")


def test_half_precision_stays_within_its_tolerance_in_a_smaller_file(exported, tmp_path):
    part = parts_of(random_pipeline(), SHAPE)["text"]
    expected = part().numpy()
    part.module.half()
    write_onnx(part, tmp_path / "text.onnx")
    got = open_runtime("onnx", "cpu", "fp16").load(tmp_path / "text.onnx")(
        {name: value.numpy() for name, value in part.inputs.items()}
    )
    assert got.dtype == np.float32
    assert 1e-6 < relative_distance(got, expected) < TOLERANCES["fp16"]
    size = {path: (path / "text.onnx").stat().st_size for path in (tmp_path, exported)}
    assert size[tmp_path] < 0.7 * size[exported]


@pytest.mark.parametrize("name", MODELS)
def test_weights_in_fp16_are_computed_in_fp32(exported, tmp_path, name):
    """Files shrink, and the outputs differ by the rounding of weights alone."""
    source, path = (folder / f"{name}.onnx" for folder in (exported, tmp_path))
    store_as_fp16(source, path)
    part = parts_of(random_pipeline(), SHAPE)[name]
    inputs = {key: value.numpy() for key, value in part.inputs.items()}
    for parameter in part.module.parameters():
        if parameter.squeeze().ndim > 1 and parameter.numel() >= FP16_MIN_SIZE:
            parameter.data = parameter.data.half().float()
    runtime = open_runtime("onnx", "cpu", "fp16-weights")
    got, unrounded = (runtime.load(file)(inputs) for file in (path, source))
    assert relative_distance(got, part().numpy()) < 1e-5
    assert 1e-6 < relative_distance(got, unrounded) < TOLERANCES["fp16-weights"]
    # The graph is most of the tiny U-Net's file.
    assert path.stat().st_size < {"unet": 1.1}.get(name, 0.8) * source.stat().st_size


def test_the_graph_has_no_operator_that_directml_lacks(exported):
    """No convolution of three dimensions, no product of more than four."""
    graph = onnx.load(exported / "unet.onnx").graph
    rank = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    for info in [*graph.value_info, *graph.input]:
        rank[info.name] = len(info.type.tensor_type.shape.dim)
    by_kind = {
        kind: [rank[name] for node in graph.node if node.op_type == kind for name in node.input[:2]]
        for kind in ("Conv", "MatMul")
    }
    assert max(by_kind["Conv"]) == 4
    assert max(by_kind["MatMul"]) <= 4


def test_the_command_runs_where_torch_is_not_installed(student, exported, tmp_path):
    """In a process that cannot import torch; the file is PyTorch's video."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({FORBIDDEN}))\n"
    )
    output = tmp_path / "video.webp"
    command = [sys.executable, "-m", "hummingbird_core.cli", "generate", PROMPT, "-o", output]
    command += ["--model", exported, "--runtime", "onnx", "--frames", "3", "--steps", "2", "--png"]
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    frames = read_video(tmp_path / "video").frames
    expected = student(PROMPT, **SMALL).frames[0]
    assert np.abs(frames.astype(int) - expected).mean() < LEVELS / 10
    made_by = read_metadata(output)
    assert (made_by["model"], made_by["runtime"], made_by["dtype"]) == ("tiny", "onnx", "fp32")


def test_the_command_exports_a_checkpoint_in_int8_and_keeps_its_videos(capsys, tmp_path):
    file, folder = tmp_path / "tiny.safetensors", tmp_path / "folder"
    small = random_pipeline(ONE_LEVEL)
    save_model(file, small.unet, small.vae, small.text_encoder)
    options = ["--to", "onnx", "--frames", 3, "--dtype", "int8"]
    code, out, err = run(capsys, "export", file, "-o", folder, *options)
    assert code == 0, err
    assert "unet: relative distance" in out
    settings = read_settings(folder)
    assert (settings.model["model"], settings.dtype) == ("tiny.safetensors", "int8")
    assert 1e-5 < settings.differences["unet"] < TOLERANCES["int8"]
    kinds = {node.op_type for node in onnx.load(folder / "unet.onnx").graph.node}
    assert "MatMulInteger" in kinds
    assert "add --overwrite" in error_of(capsys, "export", file, "-o", folder, "--to", "onnx")
    generate = ["generate", PROMPT, "--model", folder, "--runtime", "onnx", "--frames", 3]
    for first in ("wrote", "kept"):
        code, out, err = run(capsys, *generate, "-o", tmp_path / "a.gif")
        assert (code, out.split()[0]) == (0, first), err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--frames", "5"], "got 5 frames of 32x16, but the model was exported for 3 of 32x16"),
        (["--width", "64"], "got 3 frames of 64x16, but the model was exported for 3 of 32x16"),
        (["--loop"], "which exported models lack"),
        (["--context-length", "16"], "which exported models lack"),
        (["--decoder", "tiny"], "got --decoder with --runtime onnx"),
        (["--dtype", "fp16", "--compile"], "got --compile, --dtype with --runtime onnx"),
        (["--device", "cuda:1"], "got device 'cuda:1' for onnx, expected one of cpu, cuda"),
        (["--runtime", "torch"], "invalid choice: 'torch'"),
    ],
)
def test_what_an_export_cannot_do_is_one_line(capsys, exported, tmp_path, options, says):
    output = tmp_path / "a.gif"
    base = ["generate", PROMPT, "-o", output, "--model", exported, "--runtime", "onnx"]
    assert says in error_of(capsys, *base, "--frames", "3", *options)
    assert not output.exists()


def test_a_prompt_over_time_is_refused(exported):
    with pytest.raises(InputError, match="got a prompt over time"):
        ExportedPipeline(exported, "onnx")("0: a red circle; 1: a blue circle", **SMALL)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has the provider"
)
def test_a_missing_provider_is_one_line(exported):
    says = "the installed onnxruntime has no CUDAExecutionProvider: install onnxruntime-gpu"
    with pytest.raises(InputError, match=says):
        ExportedPipeline(exported, "onnx", "cuda")


def test_a_truncated_export_names_the_file(copy):
    file = copy / "unet.onnx"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"unet\.onnx, expected \d+: the export is"):
        ExportedPipeline(copy, "onnx")
    file.unlink()
    with pytest.raises(CheckpointError, match="got no file at"):
        ExportedPipeline(copy, "onnx")


def test_a_damaged_file_of_the_right_size_names_the_file(copy):
    file = copy / "unet.onnx"
    file.write_bytes(b"\xff" * file.stat().st_size)
    with pytest.raises(CheckpointError, match=r"cannot load .*unet\.onnx"):
        ExportedPipeline(copy, "onnx")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"format": 99}', "has format 99, expected 1: export the model again"),
        ("[]", "is damaged .it is no object"),
        ("{", "is damaged .* is not JSON"),
        ('{"format": 1}', "is damaged .it lacks cfg_start_timestep, decode_chunk_size"),
    ],
)
def test_settings_of_another_version_are_refused(copy, text, says):
    (copy / SETTINGS_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=says):
        read_settings(copy)


def test_output_that_is_not_finite_is_an_error(copy):
    """Some GPUs give NaN in half precision; here a weight of the decoder is NaN."""
    model = onnx.load(copy / "decoder.onnx")
    weight = next(t for t in model.graph.initializer if len(t.dims) == 4)
    values = np.full(tuple(weight.dims), np.nan, np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, copy / "decoder.onnx")
    change_settings(copy)
    with pytest.raises(NumericalError, match=r"NaN or infinite values from decoder \(onnx on cpu"):
        ExportedPipeline(copy, "onnx")(PROMPT, **SMALL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("runtime", "tflite"),
        ("height", -8),
        ("latent_shape", [1, 4, 16]),
        ("guidance_dim", "256"),
        ("files", {"unet.onnx": 7}),
        ("other", 1),
    ],
)
def test_fields_of_damaged_settings_are_named(copy, name, value):
    values = json.loads((copy / SETTINGS_FILE).read_text())
    (copy / SETTINGS_FILE).write_text(json.dumps({**values, name: value}))
    with pytest.raises(CheckpointError, match=f"is damaged .*{name}"):
        read_settings(copy)
