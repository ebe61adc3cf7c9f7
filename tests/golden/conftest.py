"""Full-size U-Nets with the golden weights, made once a session: each takes gigabytes."""

from __future__ import annotations

import pytest
from support.models import golden_unet

from hummingbird_core.unet import HummingbirdUNet


@pytest.fixture(scope="session")
def unet_07b() -> HummingbirdUNet:
    return golden_unet("hummingbird-0.7b", "unet_07B_tc256")


@pytest.fixture(scope="session")
def unet_vc2() -> HummingbirdUNet:
    return golden_unet("videocrafter2", "unet_vc2")
