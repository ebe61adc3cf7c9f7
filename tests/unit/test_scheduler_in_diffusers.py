"""ConsistencyScheduler inside pipelines of diffusers, with an oracle whose true answer is known.

An oracle is a tiny U-Net of diffusers whose noise prediction is exact for one clean sample x_0:
eps = (x_t - alpha_t x_0) / sigma_t. So the result of a pipeline must be x_0.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import (
    AnimateDiffPipeline,
    DDIMScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models import UNetMotionModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from support.models import rnd
from torch import Tensor

from hummingbird_core.errors import InputError
from hummingbird_core.sampling.schedule import alpha_sigma
from hummingbird_core.scheduler import ConsistencyScheduler

PIXELS, FRAMES, TEXT = 32, 3, 16
LATENT = PIXELS // 8
TINY = {
    "sample_size": LATENT,
    "block_out_channels": (8, 8),
    "layers_per_block": 1,
    "cross_attention_dim": TEXT,
    "norm_num_groups": 4,
}
IMAGE_UNET = {
    **TINY,
    "attention_head_dim": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
VIDEO_UNET = {
    **TINY,
    "motion_num_attention_heads": 2,
    "use_motion_mid_block": False,
    "down_block_types": ("DownBlockMotion", "CrossAttnDownBlockMotion"),
    "up_block_types": ("CrossAttnUpBlockMotion", "UpBlockMotion"),
}
EXACT = 1e-5  # relative, in fp32; measured: 4e-8 at 4 steps, 3e-6 at 50


class OracleMixin:
    """Predicts the noise that `clean` must hold."""

    def forward(self, sample: Tensor, timestep: Tensor, *args, **kwargs) -> UNet2DConditionOutput:
        alpha, sigma = alpha_sigma(int(timestep), sample)
        return UNet2DConditionOutput(sample=(sample - alpha * self.clean) / sigma)


class Oracle(OracleMixin, UNet2DConditionModel):
    """Exact for one image."""


class MotionOracle(OracleMixin, UNetMotionModel):
    """Exact for one video."""


def stable_diffusion(scheduler, unet=None):
    if unet is None:
        unet = Oracle(**IMAGE_UNET)
        unet.clean = rnd("image", (1, 4, LATENT, LATENT))
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "safety_checker"))
    parts |= {"feature_extractor": None, "unet": unet, "scheduler": scheduler}
    return StableDiffusionPipeline(**parts, requires_safety_checker=False)


def animate_diff(scheduler):
    unet = MotionOracle(**VIDEO_UNET)
    unet.clean = rnd("video", (1, 4, FRAMES, LATENT, LATENT))
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "motion_adapter"))
    pipe = AnimateDiffPipeline(**parts, unet=unet, scheduler=scheduler)
    pipe.vae_scale_factor = 8
    return pipe


def result(pipe, steps: int, **arguments) -> Tensor:
    pipe.set_progress_bar_config(disable=True)
    frames = {"num_frames": FRAMES} if isinstance(pipe, AnimateDiffPipeline) else {}
    out = pipe(
        prompt_embeds=torch.zeros(1, 77, TEXT),
        height=PIXELS,
        width=PIXELS,
        num_inference_steps=steps,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
        **frames,
        **arguments,
    )
    return out.frames if frames else out.images


def relative_error(pipe, steps: int) -> float:
    clean = pipe.unet.clean
    return float((result(pipe, steps) - clean).norm() / clean.norm())


@pytest.mark.parametrize("make", [stable_diffusion, animate_diff])
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
def test_a_pipeline_finds_what_the_oracle_knows(make: Callable, steps: int):
    assert relative_error(make(ConsistencyScheduler(final_step="denoised")), steps) < EXACT


@pytest.mark.parametrize("make", [stable_diffusion, animate_diff])
def test_as_exact_as_the_scheduler_of_lcm(make: Callable):
    lcm = LCMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    assert relative_error(make(lcm), 4) < EXACT


def test_the_default_noises_once_more_as_the_original_does():
    assert relative_error(stable_diffusion(ConsistencyScheduler()), 4) > 0.3


def test_the_result_equals_the_denoised_sample_of_the_default():
    """`final_step` changes the last `prev_sample` and nothing before it."""
    scheduler = ConsistencyScheduler()
    outputs = []
    step = scheduler.step

    def recorded(*args, return_dict=True, generator=None):
        outputs.append(step(*args, generator=generator))
        return (outputs[-1].prev_sample,)

    scheduler.step = recorded
    result(stable_diffusion(scheduler), 4)
    got = result(stable_diffusion(ConsistencyScheduler(final_step="denoised")), 4)
    assert torch.equal(got, outputs[-1].denoised)


def test_attributes_that_pipelines_and_scripts_read():
    scheduler = ConsistencyScheduler(final_step="denoised")
    assert scheduler.num_inference_steps is None
    scheduler.set_timesteps(8)
    assert scheduler.num_inference_steps == len(scheduler.timesteps) == 8
    assert (scheduler.order, scheduler.init_noise_sigma, len(scheduler)) == (1, 1.0, 1000)
    usual = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    torch.testing.assert_close(scheduler.alphas_cumprod, usual.alphas_cumprod)
    assert scheduler.config.num_train_timesteps == 1000


def test_settings_survive_saving(tmp_path):
    ConsistencyScheduler(final_step="denoised").save_pretrained(tmp_path)
    assert ConsistencyScheduler.from_pretrained(tmp_path).config.final_step == "denoised"


def test_a_saved_pipeline_comes_back_with_its_scheduler(tmp_path):
    scheduler = ConsistencyScheduler(final_step="denoised")
    pipe = stable_diffusion(scheduler, UNet2DConditionModel(**IMAGE_UNET))
    pipe.save_pretrained(tmp_path)
    absent = dict.fromkeys(("vae", "text_encoder", "tokenizer", "safety_checker"))
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path, **absent)
    assert type(loaded.scheduler) is ConsistencyScheduler
    assert torch.equal(result(loaded, 2), result(pipe, 2))


def test_a_scheduler_takes_the_config_of_stable_diffusion():
    usual = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    swapped = ConsistencyScheduler.from_config(usual.config, final_step="denoised")
    assert swapped.config.final_step == "denoised"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"final_step": "clean"}, "got final_step 'clean', expected 'renoised' or 'denoised'"),
        ({"beta_schedule": "linear"}, "got beta_schedule 'linear', expected 'scaled_linear'"),
        ({"prediction_type": "v_prediction"}, "got prediction_type 'v_prediction'"),
        ({"num_train_timesteps": 100}, "got num_train_timesteps 100, expected 1000"),
    ],
)
def test_other_schedules_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        ConsistencyScheduler(**changes)


def test_the_schedule_of_animatediff_is_refused():
    """Its own weights know linear betas; silently sampled by others they draw noise."""
    with pytest.raises(InputError, match="got beta_schedule 'linear'"):
        ConsistencyScheduler.from_config(DDIMScheduler(beta_schedule="linear").config)
