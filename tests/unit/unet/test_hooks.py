"""Hooks of a forward pass: which places they see, what they change, and that none costs nothing."""

from __future__ import annotations

import pytest
import torch

from hummingbird_core.cpu.kernels import attention
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.unet.hooks import UNetHooks

BATCH, FRAMES, SIZE = 2, 3, 8


class Recorder(UNetHooks):
    """Notes every call, and the shape of what it was called with."""

    def __init__(self):
        self.calls = []

    def enter(self, part, index):
        self.calls.append(("enter", part, index))

    def embedding(self, embedding):
        self.calls.append(("embedding", tuple(embedding.shape)))
        return embedding

    def join(self, x, skip):
        assert x.shape[-2:] == skip.shape[-2:]
        self.calls.append(("join", len(x), len(skip)))
        return x, skip

    def transform(self, block, x, context, height):
        kind = "temporal" if context is None else "spatial"
        assert x.shape[2] % height == 0
        self.calls.append((kind, x.shape[0], x.shape[1]))
        return super().transform(block, x, context, height)


@pytest.fixture(scope="module", params=["hummingbird-nano", "nano-teacher"])
def unet(request) -> HummingbirdUNet:
    torch.manual_seed(0)
    return HummingbirdUNet(UNetConfig.from_preset(request.param)).eval()


def run(unet, hooks=None, size=SIZE):
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(BATCH, 4, FRAMES, size, size, generator=generator)
    context = torch.randn(BATCH, 77, unet.config.context_dim, generator=generator)
    named = {} if hooks is None else {"hooks": hooks}
    with torch.inference_mode():
        return unet(sample, torch.tensor([500.0, 20.0]), context, **named)


def test_hooks_that_change_nothing_give_the_same_bits(unet):
    assert torch.equal(run(unet, Recorder()), run(unet))


def test_every_block_is_entered_once_and_in_order(unet):
    hooks = Recorder()
    run(unet, hooks)
    entered = [call[1:] for call in hooks.calls if call[0] == "enter"]
    expected = [("input", i) for i in range(len(unet.input_blocks))]
    expected += [("middle", 0), *(("output", i) for i in range(len(unet.output_blocks)))]
    assert entered == expected
    assert hooks.calls[0] == ("embedding", (BATCH, unet.config.embedding_dim))
    joined = [call for call in hooks.calls if call[0] == "join"]
    assert joined == [("join", BATCH * FRAMES, BATCH * FRAMES)] * len(unet.output_blocks)


def test_every_transformer_passes_through_the_hooks(unet):
    hooks = Recorder()
    run(unet, hooks)
    kinds = [call[0] for call in hooks.calls if call[0] in ("spatial", "temporal")]
    names = [type(module).__name__ for module in unet.modules()]
    assert kinds.count("spatial") == names.count("SpatialTransformer")
    assert kinds.count("temporal") == names.count("TemporalTransformer")
    assert ("spatial", BATCH, FRAMES) in hooks.calls


@pytest.mark.parametrize("place", ["embedding", "after_block", "after_skip"])
def test_what_a_hook_returns_is_used(unet, place):
    class Doubling(UNetHooks):
        pass

    setattr(Doubling, place, lambda self, x: 2 * x)
    assert not torch.allclose(run(unet, Doubling()), run(unet))


def test_all_attention_is_computed_by_the_hooks(unet):
    class Counting(UNetHooks):
        shapes = 0

        def attend(self, q, k, v):
            Counting.shapes += q.ndim
            return attention(q, k, v)

    assert torch.equal(run(unet, Counting()), run(unet))
    names = [type(module).__name__ for module in unet.modules()]
    assert Counting.shapes == 4 * names.count("Attention")


def test_odd_sizes_are_cropped_before_they_are_joined(unet):
    assert run(unet, Recorder(), size=7).shape[-1] == 7
