"""A whole pickled model, read without its classes, computes what the original computed.

Golden n_: made in fp32. The stand-in built here is fp32 as well, so the comparison is tight; the
stored original is fp16, so it is loose. Set HUMMINGBIRD_GOLDEN to the folder of
`fake_merged_tiny_fp16.pt` to include it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from support.merged_checkpoint import save_merged_checkpoint
from support.models import det, golden, manifest, relative_l2, rnd

from hummingbird_core.checkpoints import (
    Checkpoint,
    checkpoint_info,
    convert_checkpoint,
    load_checkpoint,
    read_tensors,
)
from hummingbird_core.scheduler import guidance_scale_embedding
from hummingbird_core.vae import decode_latents

FP32_TOLERANCE = 1e-5
FP16_TOLERANCE = 5e-3  # weights rounded to fp16


@pytest.fixture(scope="module")
def merged_file(tmp_path_factory) -> Path:
    return save_merged_checkpoint(tmp_path_factory.mktemp("merged") / "merged.pt")


@torch.no_grad()
def distances(checkpoint: Checkpoint) -> dict[str, float]:
    """Relative L2 of each model's output to golden n_."""
    expected = golden("n_fake_merged_tiny")
    latents, context = rnd("input:x", (1, 4, 4, 16, 16)), rnd("input:context_tiny", (1, 77, 64))
    guidance = guidance_scale_embedding(torch.tensor([7.5]), 256)
    outputs = {
        "unet": checkpoint.unet(latents, 999, context, fps=8, timestep_cond=guidance),
        "text": checkpoint.text_encoder.encode("a corgi").embeddings,
        "decode": decode_latents(
            checkpoint.vae, rnd("input:z", (1, 4, 2, 4, 4)), decode_chunk_size=2
        ),
    }
    return {name: relative_l2(output, expected[name]) for name, output in outputs.items()}


def test_reads_every_tensor_without_the_classes(merged_file):
    tensors = read_tensors(merged_file)
    shapes = {key: tuple(shape) for key, (shape, _) in manifest("fake_merged_tiny").items()}
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == shapes
    assert list(tensors) == list(shapes)
    key = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"
    assert torch.equal(tensors[key], det("tiny:" + key, shapes[key]))
    assert "lvdm" not in sys.modules


def test_pickled_model_computes_the_golden_values(merged_file):
    checkpoint = load_checkpoint(merged_file)
    assert max(distances(checkpoint).values()) <= FP32_TOLERANCE
    assert checkpoint.text_encoder.config.heads == 4  # from the pickle's attributes
    assert not checkpoint.unet.training


def test_converted_file_computes_the_golden_values(merged_file, tmp_path):
    exact, half = tmp_path / "exact.safetensors", tmp_path / "half.safetensors"
    convert_checkpoint(merged_file, exact, dtype=torch.float32)
    assert max(distances(load_checkpoint(exact)).values()) <= FP32_TOLERANCE
    convert_checkpoint(merged_file, half)
    rounded = distances(load_checkpoint(half, dtype=torch.float32))
    assert 0 < max(rounded.values()) <= FP16_TOLERANCE


def test_info_of_a_pickle_and_of_its_conversion_agree(merged_file, tmp_path):
    convert_checkpoint(merged_file, tmp_path / "half.safetensors")
    before, after = checkpoint_info(merged_file), checkpoint_info(tmp_path / "half.safetensors")
    assert before["parameters"] == after["parameters"]
    assert (before["converted"], after["converted"]) == (False, True)
    assert (before["dtypes"], after["dtypes"]) == (["float32"], ["float16"])
    assert after["metadata"]["hummingbird.source"] == "merged.pt"


@pytest.mark.skipif("HUMMINGBIRD_GOLDEN" not in os.environ, reason="HUMMINGBIRD_GOLDEN is not set")
def test_original_file_computes_the_golden_values():
    file = Path(os.environ["HUMMINGBIRD_GOLDEN"]) / "fake_merged_tiny_fp16.pt"
    assert list(read_tensors(file)) == list(manifest("fake_merged_tiny"))
    checkpoint = load_checkpoint(file, dtype=torch.float32)
    assert max(distances(checkpoint).values()) <= FP16_TOLERANCE
