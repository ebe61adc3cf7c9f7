"""LoRA in a U-Net: exact merging and undoing, and training through peft."""

from __future__ import annotations

import pytest
import torch
from support.loras import (
    LAYER,
    assert_bitwise,
    assert_same,
    nano,
    some_lora,
    weights_of,
)
from support.models import relative_l2, rnd

from hummingbird_core.errors import CheckpointError, InputError
from hummingbird_core.lora import load_lora, merge_lora, save_lora
from hummingbird_core.lora.layers import inject_lora, lora_from_peft, new_lora
from hummingbird_core.unet import HummingbirdUNet

# --- Merging --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_merge_adds_the_product_and_undoes_exactly(dtype):
    unet = nano().to(dtype)
    lora, before = some_lora(unet), weights_of(unet)
    merge_lora(unet, lora, strength=0.7)
    for layer, (up, down, _) in lora.weights.items():
        base = before[f"{layer}.weight"]
        delta = (up.flatten(1) @ down.flatten(1)).reshape(base.shape)
        expected = (base.float() + 0.7 * delta).to(dtype)
        assert relative_l2(unet.get_submodule(layer).weight.detach(), expected) < 1e-6
    merge_lora(unet, lora, strength=-0.7)
    assert_bitwise(unet, before)
    assert not hasattr(unet, "lora_stack")


def test_strengths_add_up():
    unet, other = nano(), nano()
    lora, before = some_lora(unet), weights_of(unet)
    merge_lora(unet, lora, 0.1)
    merge_lora(unet, lora, 0.2)
    merge_lora(other, lora, 0.3)
    weights = (model.get_submodule(LAYER).weight.detach() for model in (unet, other))
    assert relative_l2(*weights) < 1e-6
    merge_lora(unet, lora, -0.3)
    assert_bitwise(unet, before)


def test_two_loras_are_undone_in_any_order(tmp_path):
    unet = nano()
    first, second, before = some_lora(unet, "a"), some_lora(unet, "b"), weights_of(unet)
    del second.weights[LAYER]
    merge_lora(unet, second, 0.5)
    only_second = weights_of(unet)
    merge_lora(unet, second, -0.5)
    merge_lora(unet, first)
    merge_lora(unet, second, 0.5)
    merge_lora(unet, first, -1.0)
    assert_bitwise(unet, only_second)
    merge_lora(unet, second, -0.5)
    assert_bitwise(unet, before)


def test_a_file_read_twice_is_one_lora(tmp_path):
    unet = nano()
    before = weights_of(unet)
    save_lora(some_lora(unet), tmp_path / "l.safetensors")
    merge_lora(unet, load_lora(tmp_path / "l.safetensors", unet))
    merge_lora(unet, load_lora(tmp_path / "l.safetensors", unet), -1.0)
    assert_bitwise(unet, before)


def test_negative_zero_survives():
    unet = nano()
    lora, weight = some_lora(unet), unet.get_submodule(LAYER).weight
    weight.data.fill_(-0.0)
    merge_lora(unet, lora)
    merge_lora(unet, lora, -1.0)
    assert torch.signbit(weight).all()


def test_merging_leaves_the_checkpoint_keys_alone():
    unet = nano()
    keys = list(unet.state_dict())
    merge_lora(unet, some_lora(unet))
    assert list(unet.state_dict()) == keys


def test_merge_errors_change_nothing():
    unet = nano()
    before = weights_of(unet)
    with pytest.raises(InputError, match="got LoRA strength nan"):
        merge_lora(unet, some_lora(unet), float("nan"))
    with pytest.raises(CheckpointError, match="this U-Net lacks"):
        merge_lora(unet, some_lora(nano("nano-teacher")))
    assert_bitwise(unet, before)
    assert not hasattr(unet, "lora_stack")


# --- Training -------------------------------------------------------------------------------------


def forward(unet: HummingbirdUNet) -> torch.Tensor:
    context = rnd("context", (1, 77, unet.config.context_dim))
    guidance = rnd("guidance", (1, 256))
    return unet(rnd("x", (1, 4, 3, 8, 8)), 500, context, fps=8, timestep_cond=guidance)


def test_injected_equals_merged():
    merged, injected = nano(), nano()
    lora = some_lora(merged, scale=0.5)
    merge_lora(merged, lora)
    inject_lora(injected, lora, dropout=0.5)  # off, since the U-Net is in eval mode
    with torch.inference_mode():
        assert relative_l2(forward(injected), forward(merged)) < 1e-5
    assert_same(lora_from_peft(injected), lora, scale=0.5)


def test_new_lora_changes_nothing_and_is_all_that_trains():
    unet = nano()
    before = forward(unet).detach()
    lora = new_lora(unet, rank=8, alpha=8, generator=torch.Generator().manual_seed(1))
    assert lora.rank == 8
    assert lora.weights["input_blocks.0.0"].rank == lora.weights["out.2"].rank == 4
    inject_lora(unet, lora)
    out = forward(unet)
    assert relative_l2(out.detach(), before) < 1e-6
    out.square().mean().backward()
    trained = {name for name, p in unet.named_parameters() if p.requires_grad}
    assert trained == {name for name in trained if "lora_" in name}
    assert len(trained) == 2 * len(lora.weights)
    assert unet.get_submodule(LAYER).lora_B["default"].weight.grad.abs().max() > 0


def test_trained_lora_goes_to_a_file_and_back(tmp_path):
    unet, fresh = nano(), nano()
    inject_lora(unet, some_lora(unet, scale=0.5))
    save_lora(lora_from_peft(unet), tmp_path / "l.safetensors")
    merge_lora(fresh, load_lora(tmp_path / "l.safetensors", fresh))
    with torch.inference_mode():
        assert relative_l2(forward(unet), forward(fresh)) < 1e-5


def test_training_errors():
    unet = nano()
    with pytest.raises(InputError, match="got LoRA rank 0"):
        new_lora(unet, rank=0)
    with pytest.raises(InputError, match="got a U-Net without a LoRA"):
        lora_from_peft(unet)
