"""Fast paths of the U-Net and the decoder change neither their results nor their inputs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.models import DEVICES, relative_l2, rnd, tiny_vae
from torch import nn

from hummingbird_core.cpu.vae_decoder import decode_images
from hummingbird_core.generation.model import ModelConfig
from hummingbird_core.unet import UNetConfig
from hummingbird_core.unet.attention import CPU_TOKENS, FeedForward
from hummingbird_core.unet.hooks import PLAIN
from hummingbird_core.unet.layers import (
    Conditioning,
    ResBlock,
    SpatialTransformer,
    TemporalTransformer,
)
from hummingbird_core.unet.text import Text

ROUNDING = 1e-5  # relative L2; other kernels add up in another order
FRAMES = 3
CONFIG = UNetConfig(model_channels=2, head_channels=8, context_dim=8, norm_groups=4)
LAYERS = {
    "res": lambda: ResBlock(16, 32, CONFIG, nn),
    "res of one width": lambda: ResBlock(16, 16, CONFIG, nn),
    "spatial": lambda: SpatialTransformer(16, CONFIG, nn),
    "temporal": lambda: TemporalTransformer(16, CONFIG, nn),
}


def test_feed_forward_in_parts_equals_all_at_once():
    layer = FeedForward(8, nn)
    x = rnd("x", (2, 3, CPU_TOKENS // 4, 8))
    with torch.no_grad():
        assert relative_l2(layer(x), layer.net(x)) <= ROUNDING


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_leave_their_input_as_it_was(name, device):
    """They work in place, but only on what they made themselves."""
    torch.manual_seed(0)
    layer = LAYERS[name]().to(device)
    x = rnd("x", (2 * FRAMES, 16, 4, 4)).to(device, memory_format=torch.channels_last)
    text = Text(rnd("c", (2, 1, 5, 8)).to(device))
    cond = Conditioning(rnd("e", (2, 1, 8)).to(device), text, FRAMES, PLAIN)
    kept = x.clone(), cond.embedding.clone(), text.tokens.clone()
    with torch.no_grad():
        first, second = layer(x, cond), layer(x, cond)
    assert torch.equal(first, second)
    for before, after in zip(kept, (x, cond.embedding, text.tokens), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_finite_differences(name):
    """In-place arithmetic must not disturb what the backward pass needs."""
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    x = rnd("x", (FRAMES, 16, 2, 2)).double().requires_grad_()
    text = Text(rnd("c", (1, 1, 5, 8)).double())
    cond = Conditioning(rnd("e", (1, 1, 8)).double(), text, FRAMES, PLAIN)
    direction = rnd("d", x.shape).double()
    layer(x, cond).square().sum().backward()
    with torch.no_grad():
        ahead, behind = (layer(x + step * direction, cond).square().sum() for step in (1e-5, -1e-5))
    assert x.grad is not None
    torch.testing.assert_close(
        (x.grad * direction).sum(), (ahead - behind) / 2e-5, rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("attention", [True, False])
def test_the_decoder_equals_that_of_diffusers(attention, device):
    torch.manual_seed(0)
    vae = tiny_vae(8, 16, mid_block_add_attention=attention).to(device)
    z = rnd("z", (2, 4, 5, 6)).to(device)
    with torch.no_grad():
        assert relative_l2(decode_images(vae, z), vae.decode(z).sample) <= ROUNDING
    grads = []
    for decode in (decode_images, lambda vae, z: vae.decode(z).sample):
        latents = z.clone().requires_grad_()
        decode(vae, latents).square().sum().backward()
        grads.append(latents.grad)
    assert relative_l2(*grads) <= ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_a_compiled_model_makes_the_same_video(device):
    """A GPU replays CUDA graphs: each call must be done with before the next one."""
    settings = ModelConfig(device=device, dtype="fp32")
    plain, compiled = (replace(settings, compile=flag).load() for flag in (False, True))
    for seed in (0, 1):
        expected = plain("a red circle moves right", seed=seed).latents
        assert (
            relative_l2(compiled("a red circle moves right", seed=seed).latents, expected) <= 1e-4
        )
