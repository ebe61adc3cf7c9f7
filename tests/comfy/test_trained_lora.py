"""A LoRA from `hummingbird train lora` in ComfyUI's stock loader: every key is used."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.models import relative_l2

pytest.importorskip("peft", reason="needs the extra train")
pytest.importorskip("accelerate", reason="needs the extra train")

from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.training.lora.finetune import LoRAFinetuneConfig, finetune_lora
from hummingbird_core.video import write_video


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two steps on a white square that grows."""
    folder = tmp_path_factory.mktemp("style")
    frames = np.zeros((16, 64, 64, 3), np.uint8)
    for t, frame in enumerate(frames):
        frame[20 : 30 + t, 20 : 30 + t] = 255
    write_video(folder / "clips" / "square.mp4", frames, 8)
    pipe = HummingbirdPipeline.from_pretrained("nano", device="cpu", dtype=torch.float32)
    settings = replace(
        LoRAFinetuneConfig.for_model(pipe.unet.config), trigger="zorblax", steps=2, rank=4
    )
    finetune_lora(folder / "clips", pipe, folder / "style.safetensors", settings)
    return folder / "style.safetensors"


def test_the_stock_loader_uses_every_key(adapter, nano, trained, caplog):
    import comfy.sd
    import comfy.utils

    tensors = comfy.utils.load_torch_file(str(trained))
    with caplog.at_level(logging.WARNING):
        patched, _ = comfy.sd.load_lora_for_models(nano.model, None, tensors, 1.0, 0.0)
    assert "not loaded" not in caplog.text
    assert 3 * len(patched.patches) == len(tensors)  # up, down, alpha of each layer
    ours, report = adapter.lora.apply_lora(nano.model, trained, 1.0)
    assert f"{len(patched.patches)} layers" in report
    assert relative_l2(_sample(adapter, nano, patched), _sample(adapter, nano, ours)) <= 1e-5
    assert relative_l2(_sample(adapter, nano, patched), _sample(adapter, nano, nano.model)) > 1e-5


def _sample(adapter, nano, model) -> torch.Tensor:
    text = adapter.text.encode(nano.clip, adapter.text.tokenize(nano.clip, "zorblax"))
    steps = adapter.sample.SamplingConfig(
        width=64, height=64, frames=4, steps=1, guidance=7.5, fps=8.0
    )
    return adapter.sample.sample_video(model, text, steps, 0)["samples"]
