"""Weights that stream or are stored small: streaming changes nothing, rounding little."""

from __future__ import annotations

import gc
import multiprocessing
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import psutil
import pytest
import torch
from safetensors import SafetensorError
from support.loras import some_lora
from support.models import DEVICES, relative_l2
from support.paths import ROOT

from hummingbird_core.bench.peak_memory import MIB, in_fresh_process
from hummingbird_core.errors import InputError, MissingPackageError, OutputError
from hummingbird_core.generation.model import ModelConfig
from hummingbird_core.lora import save_lora
from hummingbird_core.offload import (
    check_memory,
    give_back_freed_memory,
    load_in_less_memory,
    store_weights,
    stream_from_disk,
    stream_from_ram,
)
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.sampling import initial_noise, step_noises

SHAPE = (1, 4, 2, 4, 4)
ROUNDING = {"cpu": 1e-5, "cuda": 1e-3}  # relative L2; a GPU may compute in TF32
PROMPT = "a red circle moves right"


def pipeline() -> HummingbirdPipeline:
    return HummingbirdPipeline.from_pretrained("nano", device="cpu")


def make(pipe: HummingbirdPipeline) -> torch.Tensor:
    latents = pipe.sample(
        pipe.encode_prompt(PROMPT),
        latents=initial_noise(SHAPE, 0),
        noises=step_noises(SHAPE, 0),
        num_inference_steps=2,
    )
    return pipe.decode(latents)


@pytest.fixture(scope="module")
def expected() -> torch.Tensor:
    return make(pipeline())


def test_weights_from_disk_give_the_same_video(expected, tmp_path):
    pipe = pipeline()
    stream_from_disk(pipe, tmp_path / "weights")
    # Files lie elsewhere in memory than weights do, and products round by where their numbers lie.
    assert relative_l2(make(pipe), expected) <= 1e-5
    assert relative_l2(make(pipe), expected) <= 1e-5  # and again
    assert len(list((tmp_path / "weights").rglob("*.safetensors"))) > 100
    with pytest.raises(InputError, match="expected an empty one"):
        stream_from_disk(pipeline(), tmp_path / "weights")


def memory_after_streaming(give_back: bool) -> int:
    """Bytes that stay taken when large blocks are freed between small ones that stay."""
    if give_back:
        give_back_freed_memory()
    before, kept = psutil.Process().memory_info().rss, []
    large = [torch.ones(31 * MIB // 4)]
    large.clear()  # as large as what glibc keeps from now on, if it is let
    for _ in range(50):
        large.append(torch.ones(8 * MIB // 4))
        kept.append(bytes(100_000))
    large.clear()
    return psutil.Process().memory_info().rss - before


def memory_without_and_with() -> tuple[int, int]:
    """Fork for the first: what it keeps would stay, and a second start takes long."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        kept = pool.submit(memory_after_streaming, False).result()
    return kept, memory_after_streaming(True)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone it is known how")
def test_freed_memory_is_given_back():
    kept, given_back = in_fresh_process(memory_without_and_with)
    assert kept >= 200 * MIB
    assert given_back <= 50 * MIB


@pytest.mark.parametrize("device", DEVICES)
def test_weights_from_ram_give_the_same_video(expected, device):
    pipe = pipeline()
    stream_from_ram(pipe, device)
    assert relative_l2(make(pipe).cpu(), expected) <= ROUNDING[device]
    assert relative_l2(make(pipe).cpu(), expected) <= ROUNDING[device]


@pytest.mark.parametrize("memory", ["ram", "bf16", "fp8"])
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_needs_less_memory(expected, memory):
    whole = HummingbirdPipeline.from_pretrained("nano", device="cuda", dtype=torch.float32)
    most = torch.cuda.memory_allocated()
    del whole
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    pipe = load_in_less_memory("nano", memory, device="cuda", dtype=torch.float32)
    assert torch.cuda.max_memory_allocated() < most
    assert relative_l2(make(pipe).cpu(), expected) <= {"bf16": 0.02, "fp8": 0.3}.get(memory, 1e-3)


@pytest.mark.parametrize(
    ("storage", "error"),
    [(torch.bfloat16, 0.02), (torch.float8_e4m3fn, 0.3)],  # 8 and 4 bits of mantissa
)
def test_stored_weights_are_small_and_the_video_stays_close(expected, storage, error):
    pipe = pipeline()
    before = bytes_of(pipe.unet)
    store_weights(pipe.unet, storage)
    assert bytes_of(pipe.unet) < before * (storage.itemsize + 0.6) / 4
    assert pipe.dtype == torch.float32
    distance = relative_l2(make(pipe), expected)
    assert 0 < distance <= error
    assert bytes_of(pipe.unet) < before * (storage.itemsize + 0.6) / 4  # after use, too


@pytest.mark.parametrize(("memory", "error"), [("disk", 1e-5), ("bf16", 0.02), ("fp8", 0.3)])
def test_a_model_is_made_small_while_it_is_loaded(expected, memory, error):
    pipe = load_in_less_memory("nano", memory, device="cpu")
    assert pipe.dtype == torch.float32
    assert relative_l2(make(pipe), expected) <= error
    assert pipe(PROMPT, num_frames=2, num_inference_steps=2, width=32, height=32).frames.any()
    small = [p for p in pipe.unet.parameters() if p.element_size() < 4]
    assert bool(small) == (memory != "disk")


def test_parts_become_small_before_the_next_ones_come():
    stored, missing = [], []

    def see(unet: torch.nn.Module, part: str) -> None:
        stored.append(sum(p.element_size() == 1 for p in unet.parameters()))
        missing.append(sum(p.is_meta for p in unet.parameters()))

    load_in_less_memory("nano", "fp8", device="cpu", on_loaded=see)
    assert stored == sorted(stored)
    assert missing == sorted(missing, reverse=True)
    assert stored[len(stored) // 2] > 0 < missing[len(missing) // 2]


def test_weights_on_the_disk_go_with_the_pipeline(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    pipe = load_in_less_memory("nano", "disk")
    assert len(list(tmp_path.rglob("*.safetensors"))) > 100
    del pipe
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("memory", ["disk", "bf16"])
def test_loras_are_merged_before_weights_become_small(tmp_path, memory):
    """Two of one layer, as in a U-Net that is there as a whole."""
    names = ("a", "b")
    for name in names:
        save_lora(some_lora(pipeline().unet, name), tmp_path / f"{name}.safetensors")
    loras = tuple((tmp_path / f"{name}.safetensors", 0.5) for name in names)
    settings = ModelConfig(loras=loras, device="cpu")
    whole = make(settings.load())
    small = make(replace(settings, memory=memory).load())
    assert relative_l2(whole, make(pipeline())) > 0.05
    assert relative_l2(small, whole) <= (1e-5 if memory == "disk" else 0.02)


@pytest.mark.parametrize(
    ("memory", "options", "said"),
    [
        ("ram", {"device": "cpu"}, "try 'fp8' or 'disk'"),
        ("disk", {"device": "meta"}, "expected a CPU"),
        ("bf16", {"device": "cpu", "dtype": torch.bfloat16}, "expected a smaller type"),
        ("magic", {}, "expected one of"),
    ],
)
def test_what_saves_nothing_is_refused(memory, options, said):
    with pytest.raises(InputError, match=said):
        load_in_less_memory("nano", memory, **options)


def test_storing_in_a_larger_type_is_refused():
    with pytest.raises(InputError, match="expected a smaller type"):
        store_weights(pipeline().unet, torch.float32)


def bytes_of(model: torch.nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def test_a_full_disk_says_how_much_is_needed_where(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("hummingbird_core.offload._stream_from", full)
    with pytest.raises(
        OutputError, match=r"GiB free, expected up to [1-9].* MiB .* TMPDIR"
    ) as raised:
        load_in_less_memory("nano", "disk")
    assert str(tmp_path) in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_on_the_disk_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "import os; from hummingbird_core.offload import load_in_less_memory as load; "
        "pipe = load('nano', 'disk'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    (left,) = tmp_path.iterdir()
    pipe = load_in_less_memory("nano", "disk")
    assert not left.exists()
    assert len(list(tmp_path.iterdir())) == 1
    del pipe


def test_streaming_without_accelerate_says_what_to_install(monkeypatch):
    """diffusers streams with it, and failed with a NameError."""
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingPackageError, match="pip install accelerate"):
        check_memory("disk", "cpu")
    assert check_memory("fp8", "cpu").type == "cpu"
