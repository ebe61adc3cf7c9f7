"""A whole sampling step is one graph: no break, nothing that waits for the device."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.models import rnd

from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.sampling.consistency import consistency_step, guidance_scale_embedding
from hummingbird_core.sampling.ddim import classifier_free_guidance, ddim_step
from hummingbird_core.sampling.schedule import predict_x0
from hummingbird_core.unet import HummingbirdUNet

T, T_NEXT = torch.tensor(759), torch.tensor(519)


@pytest.fixture(scope="module")
def student() -> HummingbirdPipeline:
    return HummingbirdPipeline.from_pretrained("nano", device="cpu", dtype=torch.float32)


def _is_one_graph(step, *inputs) -> None:
    """Compare a compiled step with the ordinary one; `fullgraph` refuses every break."""
    compiled = torch.compile(step, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs), step(*inputs), rtol=0, atol=0)


def test_a_consistency_step(student):
    context = student.encode_prompt("a red circle moves right")
    w = guidance_scale_embedding(torch.tensor([7.5]))

    def step(sample, t, t_next, noise):
        eps = student.unet(sample, t, context, 8, w)
        return consistency_step(sample, eps, t, t_next, noise)[0]

    sample, noise = rnd("sample", (1, 4, 4, 8, 8)), rnd("noise", (1, 4, 4, 8, 8))
    _is_one_graph(step, sample, T, T_NEXT, noise)


def test_a_guided_ddim_step(student):
    """On one level: the test above has compiled all kinds of blocks."""
    config = replace(student.unet.config, channel_mult=(1,), attention_levels=(0,))
    unet = HummingbirdUNet(config).eval()
    context = student.encode_prompt(["a red circle moves right", ""])

    def step(sample, t, t_next):
        eps = unet(torch.cat([sample, sample]), t, context)
        eps = classifier_free_guidance(*eps.chunk(2), 7.5)
        return ddim_step(predict_x0(sample, eps, t), eps, t, t_next, rescale=True)

    _is_one_graph(step, rnd("sample", (1, 4, 4, 8, 8)), T, T_NEXT)
