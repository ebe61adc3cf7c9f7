"""Decoding for rewards: gradients of the whole, memory of a chunk."""

from __future__ import annotations

import pytest
import torch
from diffusers.models import AutoencoderKL
from einops import rearrange
from support.models import rnd, tiny_vae

from hummingbird_core.training.rewards.decoding import decode_for_reward
from hummingbird_core.vae import decode_latents


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return tiny_vae(8, 8, 8, 8, scaling_factor=0.5).requires_grad_(False)


INDICES = torch.tensor([1, 2, 4])


def latents() -> torch.Tensor:
    return rnd("latents", (2, 4, 5, 3, 4)).requires_grad_()


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_values_and_gradients_are_those_of_one_plain_decode_by_diffusers(vae, chunk):
    plain, chunked = latents(), latents()
    weight = rnd("weight", (2, 3, 3, 24, 32))
    pictures = rearrange(plain / vae.config.scaling_factor, "b c t h w -> (b t) c h w")
    decoded = rearrange(vae.decode(pictures).sample, "(b t) c h w -> b c t h w", b=2)
    expected = decoded[:, :, INDICES]
    frames = decode_for_reward(vae, chunked, INDICES, chunk)
    torch.testing.assert_close(frames, expected, atol=1e-5, rtol=1e-4)
    (expected * weight).sum().backward()
    (frames * weight).sum().backward()
    torch.testing.assert_close(chunked.grad, plain.grad, atol=1e-5, rtol=1e-4)
    assert not chunked.grad[:, :, [0, 3]].any()  # of frames that were not asked for


def test_kept_activations_do_not_grow_with_the_frames_beyond_what_is_decoded(vae):
    """Count the numbers that autograd keeps for the backward pass, per decoded frame."""

    def kept(decode) -> int:
        total = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            decode(latents())
        return total

    plain = kept(lambda z: decode_latents(vae, z[:, :, INDICES]))
    chunked = kept(lambda z: decode_for_reward(vae, z, INDICES, 1))
    assert chunked < plain / 20


def test_only_a_chunk_is_held_in_the_backward_pass(vae):
    """The decoder sees one chunk at a time, both ways, and each chunk twice."""
    sizes = []
    handle = vae.post_quant_conv.register_forward_pre_hook(
        lambda _, args: sizes.append(len(args[0]))
    )
    frames = decode_for_reward(vae, latents(), INDICES, 2)
    assert sizes == [2, 2, 2]
    frames.sum().backward()
    handle.remove()
    assert sizes == [2] * 6
