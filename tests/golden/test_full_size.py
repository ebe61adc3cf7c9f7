"""U-Nets of full size, alone and with a LoRA, compute what the original's do (golden a_ to k_).

One file, which one process runs: each takes gigabytes, and most of their weights are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from support.models import (
    UNET_MANIFESTS,
    UNET_PREFIX,
    det,
    golden,
    manifest,
    relative_l2,
    rnd,
)
from torch import Tensor

from hummingbird_core.lora import LoRA, load_lora, merge_lora
from hummingbird_core.lora.layers import inject_lora
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.sampling import guidance_scale_embedding
from hummingbird_core.sampling.ddim import classifier_free_guidance, sample_ddim
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

TOLERANCE = 1e-5  # relative L2; two correct fp32 implementations differ by about 1.5e-6
# Guidance 12 multiplies the rounding differences of the U-Net at every step: measured 1.05e-5.
GUIDED_TOLERANCE = 3e-5
LATENTS = (1, 4, 4, 16, 16)


@pytest.fixture(scope="module")
def build() -> Callable[[str], HummingbirdUNet]:
    """A function preset -> U-Net, which draws a weight of several U-Nets once."""
    return partial(golden_unet, cache(det))


def golden_unet(draw: Callable[[str, tuple[int, ...]], Tensor], preset: str) -> HummingbirdUNet:
    with torch.device("meta"):
        unet = HummingbirdUNet(UNetConfig.from_preset(preset))
    shapes = manifest(UNET_MANIFESTS[preset])
    weights = {key.removeprefix(UNET_PREFIX): draw(key, tuple(s)) for key, s in shapes.items()}
    unet.load_state_dict(weights, strict=True, assign=True)
    return unet.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def unet_07b(build) -> HummingbirdUNet:
    return build("hummingbird-0.7b")


@pytest.fixture(scope="module")
def unet_vc2(build) -> HummingbirdUNet:
    return build("videocrafter2")


@torch.inference_mode()
def forward(unet: HummingbirdUNet, t: int = 999, w: float | None = 7.5, shape=LATENTS) -> Tensor:
    guidance = None if w is None else guidance_scale_embedding(torch.tensor([w]), 256)
    context = rnd("input:context", (1, 77, 1024))
    return unet(rnd("input:x", shape), t, context, fps=8, timestep_cond=guidance)


def test_07b(unet_07b):
    assert relative_l2(forward(unet_07b, t=759), golden("a_unet07B_t759")["out"]) < TOLERANCE


def test_07b_in_another_shape(unet_07b):
    out = golden("e_unet07B_nonsquare")["out"]
    assert relative_l2(forward(unet_07b, t=499, shape=out.shape), out) < TOLERANCE


def test_pipeline_samples_as_the_original(unet_07b):
    """Each prediction, too; the first is the golden value of the U-Net at the timestep 999."""
    expected, predictions = golden("g_loop_07B_n4_seed42_latents_given"), []
    hook = unet_07b.register_forward_hook(lambda unet, inputs, eps: predictions.append(eps))
    try:
        latents = HummingbirdPipeline(unet_07b).sample(
            rnd("input:context", (1, 77, 1024)),
            latents=rnd("input:x", LATENTS),
            noises=list(expected["rng_draws"]),
            num_inference_steps=4,
            guidance_scale=7.5,
            fps=8,
        )
    finally:
        hook.remove()
    assert relative_l2(predictions[0], golden("a_unet07B_t999")["out"]) < TOLERANCE
    for eps, name in zip(predictions, ("eps_0", "eps_1", "eps_2", "eps_3"), strict=True):
        assert relative_l2(eps, expected[name]) < TOLERANCE
    assert relative_l2(latents, expected["out"]) < TOLERANCE


# --- a LoRA in the released list format


def released_lora(path: Path, unet: HummingbirdUNet) -> LoRA:
    """The golden LoRA, written as a list of nameless tensors and read back."""
    shapes = [m[part] for m in manifest("lora_unet_07B_r4")["modules"] for part in ("up", "down")]
    tensors = [det(f"lora.{i}", s) * (0.1 if i % 2 == 0 else 1.0) for i, s in enumerate(shapes)]
    torch.save(tensors, path)
    return load_lora(path, unet)


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


# --- the larger U-Nets


def test_09b(build):
    out = golden("b_unet09B_t999")["out"]
    assert relative_l2(forward(build("hummingbird-0.9b")), out) < TOLERANCE


def test_teacher(unet_vc2):
    out = golden("c_unetvc2_t999")["out"]
    assert relative_l2(forward(unet_vc2, w=None), out) < TOLERANCE


@pytest.mark.slow
@torch.inference_mode()
def test_whole_loop_of_the_teacher(unet_vc2):
    expected = golden("k_ddim_vc2_eta0")
    # Conditional and unconditional predictions of one sample as a batch of two.
    context = torch.cat([rnd(f"input:{name}", (1, 77, 1024)) for name in ("context", "uncond")])

    def predict_noise(x: Tensor, t: int) -> Tensor:
        eps = unet_vc2(x.expand(2, *LATENTS[1:]), t, context, fps=16)
        return classifier_free_guidance(eps[:1], eps[1:], 12.0)

    got = sample_ddim(predict_noise, rnd("input:x", LATENTS), 5)
    assert relative_l2(got, expected["out"]) < GUIDED_TOLERANCE
