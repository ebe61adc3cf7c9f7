"""The pickle reader: every format of torch.save, and pickles that are damaged or hostile."""

from __future__ import annotations

import collections
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from hummingbird_core.checkpoints import read_tensors
from hummingbird_core.errors import CheckpointError, UnsafeCheckpointError
from hummingbird_core.weights.pickle.modules import read_pickled_model


class Runs:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def saved(path: Path, value, **options) -> Path:
    torch.save(value, path, **options)
    return path


def zip_with_pickle(path: Path, data: bytes) -> Path:
    """A torch zip file whose pickle is `data`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", b"\0" * 64)
    return path


SAMPLES = {
    "float32": torch.randn(3, 4),
    "float16": torch.randn(5).half(),
    "bfloat16": torch.randn(2, 2).bfloat16(),
    "float8": torch.randn(4).to(torch.float8_e4m3fn),
    "int64": torch.arange(7),
    "bool": torch.tensor([True, False]),
    "uint16": torch.arange(3).to(torch.uint16),
    "complex64": torch.randn(2, dtype=torch.complex64),
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(0, 3),
    "transposed": torch.randn(4, 6).t(),
    "slice": torch.arange(20.0).view(4, 5)[1:3, ::2],
    "expanded": torch.tensor([2.0]).expand(3),
    "parameter": nn.Parameter(torch.randn(2)),
}


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", SAMPLES)
def test_reads_what_torch_saved(tmp_path, name, new_format):
    file = saved(
        tmp_path / "a.pt", {name: SAMPLES[name]}, _use_new_zipfile_serialization=new_format
    )
    got = read_tensors(file)[name]
    assert got.dtype == SAMPLES[name].dtype
    assert torch.equal(bits(got), bits(SAMPLES[name]))


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def test_tensors_that_share_a_storage_keep_their_own_parts(tmp_path):
    whole = torch.arange(12.0)
    tensors = read_tensors(saved(tmp_path / "a.pt", {"left": whole[:5], "right": whole[5:]}))
    assert torch.equal(tensors["right"], whole[5:])
    assert tensors["left"].untyped_storage().nbytes() == 5 * 4


@pytest.mark.parametrize("wrapper", ["state_dict", "module", "model"])
def test_unwraps_training_checkpoints(tmp_path, wrapper):
    value = {wrapper: {"a.weight": torch.ones(2)}, "optimizer": {"state": torch.zeros(9)}}
    assert list(read_tensors(saved(tmp_path / "a.ckpt", value))) == ["a.weight"]


def test_deepspeed_loses_its_prefix_and_its_teacher(tmp_path):
    names = ["model.diffusion_model.out.2.weight", "teacher_unet.out.2.weight", "betas"]
    value = {"module": {f"_forward_module.{name}": torch.ones(1) for name in names}}
    assert list(read_tensors(saved(tmp_path / "a.pt", value))) == [names[0], "betas"]


def test_lists_count_their_tensors(tmp_path):
    file = saved(tmp_path / "a.pt", [torch.ones(1), torch.ones(2)])
    assert list(read_tensors(file)) == ["0", "1"]


def test_modules_give_the_names_and_order_of_state_dict(tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Sequential(nn.Conv2d(1, 1, 1)))
    model.register_buffer("temporary", torch.ones(1), persistent=False)
    model.hooks = collections.defaultdict(list)
    model.width = 7
    found = read_pickled_model(saved(tmp_path / "a.pt", model))
    assert list(found.tensors) == list(model.state_dict())
    assert found.hyperparameters["width"] == 7
    assert found.hyperparameters["1.eps"] == model[1].eps


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_a_pickle_that_runs_a_command_is_refused(tmp_path, new_format):
    marker = tmp_path / "marker"
    value = {"weight": torch.ones(1), "x": Runs(os.system, f"echo x > {marker}")}
    file = saved(tmp_path / "a.pt", value, _use_new_zipfile_serialization=new_format)
    with pytest.raises(UnsafeCheckpointError, match=r"(posix|nt)\.system") as caught:
        read_tensors(file)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("function", [eval, exec, open, __import__, compile])
def test_builtins_that_run_code_are_refused(tmp_path, function):
    with pytest.raises(UnsafeCheckpointError, match=function.__name__):
        read_tensors(saved(tmp_path / "a.pt", {"x": Runs(function, "1")}))


@pytest.mark.parametrize("name", ["subprocess Popen", "__builtin__ eval", "torch.hub load"])
def test_names_that_run_code_are_refused_in_any_spelling(tmp_path, name):
    module, function = name.split()
    data = b"\x80\x02c" + f"{module}\n{function}\n".encode() + b"."
    with pytest.raises(UnsafeCheckpointError):
        read_tensors(zip_with_pickle(tmp_path / "a.pt", data))


def test_getattr_and_unknown_functions_do_nothing(tmp_path):
    marker = tmp_path / "marker"
    harmless_looking = Runs(getattr, Path(marker), "touch")
    value = {"weight": torch.ones(1), "x": Runs(Path.touch, marker), "y": harmless_looking}
    assert list(read_tensors(saved(tmp_path / "a.pt", value))) == ["weight"]
    assert not marker.exists()


def test_setting_state_runs_no_setstate(tmp_path):
    file = saved(tmp_path / "a.pt", {"weight": torch.ones(1), "x": HasState()})
    assert list(read_tensors(file)) == ["weight"]


class HasState:
    def __getstate__(self):
        return {"a": 1}

    def __setstate__(self, state):
        raise RuntimeError("the reader must not call this")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_truncated_files_are_reported(tmp_path, keep, new_format):
    file = saved(
        tmp_path / "a.pt", {"a": torch.ones(999)}, _use_new_zipfile_serialization=new_format
    )
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CheckpointError) as caught:
        read_tensors(file)
    assert "\n" not in str(caught.value)


def test_damage_anywhere_in_the_pickle_raises_no_other_error(tmp_path):
    file = saved(tmp_path / "a.pt", {"a": torch.ones(4), "b": nn.Linear(2, 2)})
    with zipfile.ZipFile(file) as archive:
        data = archive.read("a/data.pkl")
    refused = 0
    for position in range(2, len(data)):
        damaged = data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :]
        try:
            read_tensors(zip_with_pickle(tmp_path / "b.pt", damaged))
        except CheckpointError:
            refused += 1
    assert refused > len(data) / 3


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # memo index 2**31: an array of 32 GB
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",  # a string of 1 TB
        b"\x80\x02K\x01K\x02\x86R.",  # calls a number
    ],
)
def test_pickle_bombs_cost_nothing(tmp_path, data):
    with pytest.raises(CheckpointError):
        read_tensors(zip_with_pickle(tmp_path / "a.pt", data))


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    file = saved(tmp_path / "a.pt", {"a": torch.ones(1).expand(1 << 40)})
    with pytest.raises(CheckpointError, match="repeats"):
        read_tensors(file)


def test_endless_nesting_is_refused(tmp_path):
    loop: dict = {}
    loop["again"] = loop
    with pytest.raises(CheckpointError, match="nests"):
        read_tensors(saved(tmp_path / "loop.pt", loop))
    shared: dict = {"a": torch.ones(1)}
    for _ in range(40):
        shared = {"left": shared, "right": shared}
    with pytest.raises(CheckpointError, match="nests"):
        read_tensors(saved(tmp_path / "shared.pt", shared))


def test_files_that_hold_no_model_are_reported(tmp_path):
    with pytest.raises(CheckpointError, match="no tensors"):
        read_tensors(saved(tmp_path / "a.pt", {"epoch": 3}))
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(CheckpointError, match="plain pickle"):
        read_tensors(tmp_path / "plain.pt")


def test_compressed_and_foreign_zip_files_are_reported(tmp_path):
    file = tmp_path / "a.pt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02N.")
    with pytest.raises(CheckpointError, match="compressed"):
        read_tensors(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"no data\.pkl"):
        read_tensors(file)


def test_reading_one_tensor_does_not_read_the_others(tmp_path):
    file = saved(tmp_path / "a.pt", {"a": torch.ones(4), "b": torch.zeros(1_000_000)})
    model = read_pickled_model(file)
    with file.open("r+b") as cut:  # the end of b is gone
        cut.truncate(2_000_000)
    assert torch.equal(model.tensors["a"].read(), torch.ones(4))
    with pytest.raises(CheckpointError, match="lacks bytes"):
        model.tensors["b"].read()
