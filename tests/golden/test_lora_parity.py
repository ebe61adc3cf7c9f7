"""LoRAs have the layers of released files; what they do is in test_full_size.py."""

from __future__ import annotations

import pytest
from support.models import manifest

from hummingbird_core.lora.formats import lora_targets
from hummingbird_core.lora.layers import new_lora
from hummingbird_core.unet import HummingbirdUNet, UNetConfig


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
