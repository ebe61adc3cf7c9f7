"""Weights that stream or are stored small: streaming changes nothing, rounding little."""

from __future__ import annotations

import pytest
import torch
from helpers import relative_l2

from hummingbird_core.errors import InputError
from hummingbird_core.offload import store_weights, stream_from_disk, stream_from_ram
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.sampling import initial_noise, step_noises

SHAPE = (1, 4, 2, 4, 4)
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


def test_weights_from_ram_give_the_same_video(expected):
    pipe = pipeline()
    stream_from_ram(pipe, "cpu")
    assert torch.equal(make(pipe), expected)


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


def test_storing_in_a_larger_type_is_refused():
    with pytest.raises(InputError, match="expected a smaller type"):
        store_weights(pipeline().unet, torch.float32)


def bytes_of(model: torch.nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())
