"""The U-Nets have the parts of the original's; what they compute is in test_full_size.py."""

from __future__ import annotations

import pytest
import torch
from support.models import UNET_MANIFESTS, UNET_PREFIX, golden, manifest, relative_l2

from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.unet.layers import timestep_embedding

PARAMETERS = {
    "videocrafter2": 1_413_284_420,
    "hummingbird-0.9b": 945_209_220,
    "hummingbird-0.7b": 772_091_780,
}


@pytest.mark.parametrize("preset", PARAMETERS)
def test_keys_shapes_and_parameter_counts_are_those_of_the_checkpoints(preset):
    unet = HummingbirdUNet(UNetConfig.from_preset(preset), device="meta")
    shapes = {UNET_PREFIX + key: list(value.shape) for key, value in unet.state_dict().items()}
    assert shapes == manifest(UNET_MANIFESTS[preset])
    assert sum(p.numel() for p in unet.parameters()) == PARAMETERS[preset]


def test_teacher_with_guidance_input():
    config = UNetConfig.from_preset("videocrafter2", guidance_embedding=True)
    unet = HummingbirdUNet(config, device="meta")
    assert sum(p.numel() for p in unet.parameters()) == 1_413_366_340
    assert len(unet.state_dict()) == 1485


def test_timestep_embedding():
    expected = golden("f_timestep_embedding")["t0_1_19_259_999_fps8_24"]
    t = torch.tensor([0, 1, 19, 259, 999, 8, 24])
    assert relative_l2(timestep_embedding(t, 320), expected) < 1e-6
