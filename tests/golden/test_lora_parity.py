"""LoRA files in the released list format act as in the original (golden j_)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.models import det, golden, manifest, relative_l2, rnd

from hummingbird_core.lora import LoRA, load_lora, merge_lora
from hummingbird_core.lora.formats import lora_targets
from hummingbird_core.lora.layers import inject_lora, new_lora
from hummingbird_core.sampling import guidance_scale_embedding
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

TOLERANCE = 1e-5  # relative L2


def released_lora(path: Path, unet: HummingbirdUNet) -> LoRA:
    """The golden LoRA, written as a list of nameless tensors and read back."""
    shapes = [m[part] for m in manifest("lora_unet_07B_r4")["modules"] for part in ("up", "down")]
    tensors = [det(f"lora.{i}", s) * (0.1 if i % 2 == 0 else 1.0) for i, s in enumerate(shapes)]
    torch.save(tensors, path)
    return load_lora(path, unet)


@torch.inference_mode()
def forward(unet: HummingbirdUNet) -> torch.Tensor:
    guidance = guidance_scale_embedding(torch.tensor([7.5]))
    context = rnd("input:context", (1, 77, 1024))
    return unet(rnd("input:x", (1, 4, 4, 16, 16)), 999, context, fps=8, timestep_cond=guidance)


def module_of(row: dict | list) -> tuple[str, int, list[int], list[int]]:
    """Name, rank and shapes of a row: a dict in one manifest, a list in the others."""
    if isinstance(row, dict):
        return row["name"], row["r"], row["up"], row["down"]
    name, rank, up, down = row
    return name, rank, up, down


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        ("hummingbird-0.7b", "lora_unet_07B_r4"),
        ("hummingbird-0.7b", "lora_unet_07B_r64"),
        ("hummingbird-0.9b", "lora_unet_09B_r64"),
        ("videocrafter2", "lora_unet_vc2_r64"),
    ],
)
def test_layers_order_and_ranks_are_those_of_released_files(preset, name):
    config = UNetConfig.from_preset(preset, guidance_embedding=True)
    unet, expected = HummingbirdUNet(config, device="meta"), manifest(name)
    got = [
        (layer, weight.rank, list(weight.up.shape), list(weight.down.shape))
        for layer, weight in new_lora(unet, expected["rank"], expected["rank"]).weights.items()
    ]
    assert list(lora_targets(unet)) == [layer for layer, *_ in got]
    assert got == [module_of(row) for row in expected["modules"]]


def test_merged_and_undone(unet_07b, tmp_path):
    lora, expected = released_lora(tmp_path / "unet_lora.pt", unet_07b), golden("j_lora_07B_r4")
    assert (lora.format, lora.rank, len(lora.weights), lora.unused) == ("flat", 4, 333, [])
    merged = [key for key in expected if key.startswith("merged::")]
    weights = {key: unet_07b.get_parameter(key.removeprefix("merged::")) for key in merged}
    before = {key: weight.clone() for key, weight in weights.items()}
    merge_lora(unet_07b, lora)
    try:
        for key, weight in weights.items():
            assert relative_l2(weight.flatten()[:64], expected[key]) < TOLERANCE
        assert relative_l2(forward(unet_07b), expected["out_merged"]) < TOLERANCE
    finally:
        merge_lora(unet_07b, lora, strength=-1.0)
    assert all(torch.equal(weight, before[key]) for key, weight in weights.items())


def test_injected_for_training(unet_07b, tmp_path):
    lora = released_lora(tmp_path / "unet_lora.pt", unet_07b)
    with torch.device("meta"):  # a shell around the shared weights: injection changes the layers
        unet = HummingbirdUNet(unet_07b.config)
    unet.load_state_dict(unet_07b.state_dict(), assign=True)
    inject_lora(unet.eval(), lora, dropout=0.1)
    assert relative_l2(forward(unet), golden("j_lora_07B_r4")["out_injected"]) < TOLERANCE
