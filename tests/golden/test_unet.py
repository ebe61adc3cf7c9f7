"""The U-Net computes what the original computes (golden a_ to f_)."""

from __future__ import annotations

import pytest
import torch
from support.models import UNET_PREFIX, golden, golden_unet, manifest, relative_l2, rnd

from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.sampling import guidance_scale_embedding
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.unet.layers import timestep_embedding

TOLERANCE = 1e-5  # relative L2; two correct fp32 implementations differ by about 1.5e-6
PARAMETERS = {
    "videocrafter2": 1_413_284_420,
    "hummingbird-0.9b": 945_209_220,
    "hummingbird-0.7b": 772_091_780,
}
MANIFESTS = {
    "videocrafter2": "unet_vc2",
    "hummingbird-0.9b": "unet_09B_tc256",
    "hummingbird-0.7b": "unet_07B_tc256",
}


@torch.inference_mode()
def forward(unet: HummingbirdUNet, t: int = 999, fps: int = 8, w: float | None = 7.5, **shapes):
    sample = rnd("input:x", shapes.get("x", (1, 4, 4, 16, 16)))
    guidance = None if w is None else guidance_scale_embedding(torch.tensor([w]), 256)
    return unet(sample, t, rnd("input:context", (1, 77, 1024)), fps=fps, timestep_cond=guidance)


@pytest.mark.parametrize("preset", PARAMETERS)
def test_keys_shapes_and_parameter_counts_are_those_of_the_checkpoints(preset):
    unet = HummingbirdUNet(UNetConfig.from_preset(preset), device="meta")
    shapes = {UNET_PREFIX + key: list(value.shape) for key, value in unet.state_dict().items()}
    assert shapes == manifest(MANIFESTS[preset])
    assert sum(p.numel() for p in unet.parameters()) == PARAMETERS[preset]


def test_teacher_with_guidance_input():
    config = UNetConfig.from_preset("videocrafter2", guidance_embedding=True)
    unet = HummingbirdUNet(config, device="meta")
    assert sum(p.numel() for p in unet.parameters()) == 1_413_366_340
    assert len(unet.state_dict()) == 1485


@pytest.mark.parametrize("t", [999, 759])
def test_07b(unet_07b, t):
    assert relative_l2(forward(unet_07b, t=t), golden(f"a_unet07B_t{t}")["out"]) < TOLERANCE


def test_07b_in_another_shape(unet_07b):
    out = golden("e_unet07B_nonsquare")["out"]
    assert relative_l2(forward(unet_07b, t=499, x=out.shape), out) < TOLERANCE


def test_09b():
    unet = golden_unet("hummingbird-0.9b", "unet_09B_tc256")
    assert relative_l2(forward(unet), golden("b_unet09B_t999")["out"]) < TOLERANCE


def test_teacher(unet_vc2):
    out = golden("c_unetvc2_t999")["out"]
    assert relative_l2(forward(unet_vc2, w=None), out) < TOLERANCE


def test_pipeline_samples_as_the_original(unet_07b):
    expected = golden("g_loop_07B_n4_seed42_latents_given")
    latents = HummingbirdPipeline(unet_07b).sample(
        rnd("input:context", (1, 77, 1024)),
        latents=rnd("input:x", (1, 4, 4, 16, 16)),
        noises=list(expected["rng_draws"]),
        num_inference_steps=4,
        guidance_scale=7.5,
        fps=8,
    )
    assert relative_l2(latents, expected["out"]) < TOLERANCE


def test_timestep_embedding():
    expected = golden("f_timestep_embedding")["t0_1_19_259_999_fps8_24"]
    t = torch.tensor([0, 1, 19, 259, 999, 8, 24])
    assert relative_l2(timestep_embedding(t, 320), expected) < 1e-6
