"""Full-size U-Nets with the golden weights, made once a session: each takes gigabytes."""

from __future__ import annotations

import pytest
import torch
from helpers import det_state_dict, manifest

from hummingbird_core.unet import HummingbirdUNet, UNetConfig

PREFIX = "model.diffusion_model."


def golden_unet(preset: str, shapes: str) -> HummingbirdUNet:
    with torch.device("meta"):
        unet = HummingbirdUNet(UNetConfig.from_preset(preset))
    unet.load_state_dict(det_state_dict(manifest(shapes), PREFIX), strict=True, assign=True)
    return unet.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def unet_07b() -> HummingbirdUNet:
    return golden_unet("hummingbird-0.7b", "unet_07B_tc256")


@pytest.fixture(scope="session")
def unet_vc2() -> HummingbirdUNet:
    return golden_unet("videocrafter2", "unet_vc2")
