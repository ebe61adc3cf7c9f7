"""The memory estimates for ComfyUI cover the tensors held, and not much more."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
import torch
from support.comfy.live_memory import LivePeak
from torch._subclasses.fake_tensor import FakeTensorMode

MARGIN = 2.2  # an estimate far too high would make ComfyUI unload other models for nothing
# The estimate is for a GPU; on a CPU, where this runs, the feed-forward layers hold fewer tokens.
UNET_MARGIN = 3.0


@pytest.mark.parametrize(
    ("preset", "shape", "dtype"),
    [
        ("hummingbird-0.7b", (1, 4, 16, 40, 64), torch.float16),
        ("hummingbird-0.7b", (1, 4, 26, 40, 64), torch.float16),
        ("videocrafter2", (2, 4, 16, 40, 64), torch.float16),
        ("hummingbird-nano", (1, 4, 16, 8, 8), torch.float32),
    ],
)
def test_unet(adapter, preset, shape, dtype):
    from hummingbird_pack.hummingbird_core.unet import UNetConfig

    config = UNetConfig.from_preset(preset)
    with FakeTensorMode(allow_non_fake_inputs=True):  # the schedule is a table of numbers
        unet = adapter.unet.NativeUNet(config, dtype=dtype)
        arguments = {
            "context": torch.empty(shape[0], 77, config.context_dim, dtype=dtype),
            "fps": torch.full(shape[:1], 8.0),
            "guidance": torch.empty(shape[0], 256) if config.guidance_embedding else None,
        }
        x, t = torch.empty(shape, dtype=dtype), torch.zeros(shape[0])
        with LivePeak() as memory:
            unet(x, t, **arguments)
    factor = adapter.unet.HummingbirdModelConfig({"config": config}).memory_usage_factor
    # ComfyUI's formula: BaseModel.memory_required where attention is fused
    pixels = shape[0] * shape[2] * shape[3] * shape[4]
    estimate = pixels * dtype.itemsize * 0.01 * factor * 2**20
    assert memory.peak < estimate < UNET_MARGIN * memory.peak


@pytest.mark.parametrize(("width", "frames"), [(128, 4), (128, 16), (32, 16)])
def test_vae(adapter, width, frames):
    sizes = {"latent_channels": 4, "in_channels": 3, "out_channels": 3, "layers_per_block": 2}
    widths = {"block_out_channels": [width, 2 * width, 4 * width, 4 * width]}
    vae = SimpleNamespace(device=torch.device("cpu"))
    adapter.autoencoder._describe_as_video(vae, 8, width)
    with FakeTensorMode():
        parameters = adapter.autoencoder._parameters({**sizes, **widths})
        network = adapter.autoencoder.FrameWiseAutoencoder(**parameters)
        latents, pixels = torch.empty(1, 4, frames, 40, 64), torch.empty(1, 3, frames, 320, 512)
        with LivePeak() as decoding:
            network.decode(latents)
        with LivePeak() as encoding:
            network.encode(pixels)
    decode = vae.memory_used_decode(latents.shape, torch.float32)
    encode = vae.memory_used_encode(pixels.shape, torch.float32)
    assert decoding.peak < decode < MARGIN * decoding.peak
    assert encoding.peak < encode < MARGIN * encoding.peak


def test_only_what_exceeds_the_whole_memory_is_refused(adapter, nano, monkeypatch):
    import comfy.model_management as management

    error = adapter.core_errors.InputError
    total = 2**30
    monkeypatch.setattr(management, "get_total_memory", lambda device: total)
    memory, small, large = adapter.memory, (1, 4, 16, 8, 8), (1, 4, 4096, 512, 512)
    for check in (memory.check_latents, memory.check_frames):
        check(small)
        with pytest.raises(error, match=r"of 4096x4096 with 4096 frames, .* needs"):
            check(large)
    memory.check_memory(nano.model, small, {})
    with pytest.raises(error, match="sampling needs"):
        memory.check_memory(nano.model, large, {})


def test_windows_need_the_memory_of_one_window(adapter, nano, monkeypatch):
    import comfy.model_management as management

    shape = (1, 4, 1024, 64, 64)
    windows = importlib.import_module("hummingbird_pack.nodes.adapter.sampling.context_windows")
    core = importlib.import_module("hummingbird_pack.hummingbird_core.sampling.context_windows")
    handler = windows.FrameWindows(core.ContextWindows(16, 8))
    monkeypatch.setattr(management, "get_total_memory", lambda device: 2 * 2**30)
    adapter.memory.check_memory(nano.model, shape, {"context_handler": handler})
    with pytest.raises(adapter.core_errors.InputError, match="sampling needs"):
        adapter.memory.check_memory(nano.model, shape, {})
