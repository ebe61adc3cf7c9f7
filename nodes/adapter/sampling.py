"""Samples videos inside ComfyUI exactly as `hummingbird generate` does outside of it.

All noise comes from the CPU and from the two streams of the core's `sampling` module. ComfyUI's own
`lcm` sampler draws its step noise on the device, and on older releases from the same stream as the
initial noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import node_helpers
import torch
from torch import Tensor

from ...hummingbird_core.errors import InputError
from ...hummingbird_core.pipeline import HummingbirdPipeline
from ...hummingbird_core.sampling import (
    CONSISTENCY_GRID,
    TRAIN_TIMESTEPS,
    consistency_sigmas,
    initial_noise,
    sample_lcm_kdiffusion,
)
from ...hummingbird_core.sampling.context_windows import ContextWindows, freenoise_shuffle
from ...hummingbird_core.sampling.ddim import ddim_timesteps
from ...hummingbird_core.settings import SIZE_MULTIPLE, ModelDefaults, check_settings
from .context_windows import has_windows, with_windows
from .unet import hummingbird_unet

Latent = dict[str, Any]  # ComfyUI's LATENT: "samples" [B, 4, T, h, w] and more
Conditioning = list[Any]


@dataclass(frozen=True)
class SamplingConfig:
    """What Sample Video and Best of N ask for; 0 stands for the model's own width or height."""

    width: int
    height: int
    frames: int
    steps: int
    guidance: float
    fps: float
    strength: float = 1.0


def consistency_sampler() -> comfy.samplers.KSAMPLER:
    """A SAMPLER; ComfyUI gives it the seed of the sampling node."""
    return comfy.samplers.KSAMPLER(sample_lcm_kdiffusion)


def sigmas_from(steps: int, strength: float) -> Tensor:
    """Sigmas of `steps` consistency steps that start at `strength` of the noise; 1 is pure noise.

    As in ComfyUI's `denoise`, the last `steps` of a longer schedule, or fewer where the grid of
    noise levels has fewer below `strength`. `[steps + 1]`, ends with 0.
    """
    steps_in_all, steps = _last_part(steps, strength, CONSISTENCY_GRID)
    return consistency_sigmas(steps_in_all)[-(steps + 1) :]


def _last_part(steps: int, strength: float, longest: int) -> tuple[int, int]:
    """How long the whole schedule is, and how many steps at its end are taken."""
    if steps <= longest * strength:
        return int(steps / strength), steps
    return longest, max(1, round(longest * strength))


def empty_video(width: int, height: int, frames: int, batch_size: int = 1) -> Latent:
    """A LATENT of zeros; sizes in pixels."""
    size = height // SIZE_MULTIPLE, width // SIZE_MULTIPLE
    return {"samples": torch.zeros(batch_size, 4, frames, *size)}


def trained_sizes(model: comfy.model_patcher.ModelPatcher) -> ModelDefaults:
    """What the MODEL was trained on."""
    return HummingbirdPipeline(hummingbird_unet(model)).trained


def sample_video(
    model: comfy.model_patcher.ModelPatcher,
    positive: Conditioning,
    settings: SamplingConfig,
    seed: int,
    *,
    negative: Conditioning | None = None,
    latent: Latent | None = None,
) -> Latent:
    """Noise, or a given video, to a denoised LATENT.

    A video longer than what the model was trained on goes through it in windows, unless the MODEL
    has context windows of ComfyUI already.

    Args:
        model: a student, which needs one U-Net call a step, or a teacher, which needs two.
        positive: what to show.
        settings: sizes are those of `latent` if it is given.
        seed: of the first video of a batch; the next ones have seed + 1, ...
        negative: needed by a teacher only, for classifier-free guidance.
        latent: to start from, with `settings.strength`.

    Raises:
        InputError: names the input to change.
    """
    _check(model, settings, seed, latent)
    for name, conditioning in (("positive", positive), ("negative", negative or [])):
        _check_text(model, conditioning, name)
    start = latent or _empty_for(model, settings)
    values = {"guidance": settings.guidance, "frame_rate": settings.fps}
    positive = node_helpers.conditioning_set_values(positive, values)
    noise = initial_noise(tuple(start["samples"].shape), seed)
    windows = _windows(model, noise.shape[2], settings)
    if windows.are_needed(noise.shape[2]) and not has_windows(model):
        noise, model = freenoise_shuffle(noise, windows), with_windows(model, windows)
    if hummingbird_unet(model).config.guidance_embedding:
        run = _Run(1.0, consistency_sampler(), sigmas_from(settings.steps, settings.strength))
        # At a scale of 1, no second call.
        samples = run(model, positive, positive, start, noise, seed)
    elif negative is None:
        raise InputError(
            "input negative: got nothing, expected the conditioning of an empty prompt: a teacher "
            "is guided by the difference; connect another Encode Prompt"
        )
    else:
        negative = node_helpers.conditioning_set_values(negative, values)
        run = _teacher_run(model, settings)
        samples = run(_guided_at_high_noise(model), positive, negative, start, noise, seed)
    return {**start, "samples": samples, "frame_rate": settings.fps}


@dataclass(frozen=True)
class _Run:
    """One call of ComfyUI's sampling, with its memory management, previews and interrupts."""

    guidance: float
    sampler: Any
    sigmas: Tensor
    noise_scale: float = 1.0

    def __call__(
        self,
        model: comfy.model_patcher.ModelPatcher,
        positive: Conditioning,
        negative: Conditioning,
        start: Latent,
        noise: Tensor,
        seed: int,
    ) -> Tensor:
        noised = comfy.sample.sample_custom(
            model,
            self.noise_scale * noise,
            self.guidance,
            self.sampler,
            self.sigmas,
            positive,
            negative,
            start["samples"],
            noise_mask=start.get("noise_mask"),
            callback=latent_preview.prepare_callback(model, len(self.sigmas) - 1),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        )
        # DDIM ends at the noise of t = 0, which is not none: from x_0 + sigma eps to x_t.
        return noised / (1 + float(self.sigmas[-1]) ** 2) ** 0.5


def _guided_at_high_noise(
    model: comfy.model_patcher.ModelPatcher,
) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with guidance where the pipeline has it, see `ModelDefaults.guided_from`."""
    guided_from = trained_sizes(model).guided_from
    if not guided_from:
        return model
    timestep = model.get_model_object("model_sampling").timestep

    def guide(given: dict[str, Any]) -> Tensor:
        cond, uncond = given["cond"], given["uncond"]
        is_guided = timestep(given["timestep"]) >= guided_from  # [B], of sigmas
        scale = torch.where(is_guided, given["cond_scale"], 1.0).reshape(-1, 1, 1, 1, 1)
        return uncond + scale * (cond - uncond)

    guided = model.clone()
    guided.set_model_sampler_cfg_function(guide)
    return guided


def _teacher_run(model: comfy.model_patcher.ModelPatcher, settings: SamplingConfig) -> _Run:
    """DDIM with eta 0, which is Euler's method on DDIM's sigmas."""
    sigmas = _ddim_sigmas(model, settings)
    scale = _start_scale(model, sigmas[0]) if settings.strength == 1 else 1.0
    return _Run(settings.guidance, comfy.samplers.ksampler("euler"), sigmas, scale)


def _ddim_sigmas(model: comfy.model_patcher.ModelPatcher, settings: SamplingConfig) -> Tensor:
    """Of the last `settings.steps` of a schedule that is longer where the strength is below 1."""
    table = model.get_model_object("model_sampling").sigmas.cpu()
    steps_in_all, steps = _last_part(settings.steps, settings.strength, TRAIN_TIMESTEPS // 2)
    timesteps = ddim_timesteps(steps_in_all)[-steps:].tolist()
    last = max(timesteps[-1] - TRAIN_TIMESTEPS // steps_in_all, 0)
    return table[[*timesteps, last]]


def _start_scale(model: comfy.model_patcher.ModelPatcher, sigma: Tensor) -> float:
    """What noise is multiplied by so that the U-Net's first input is N(0, 1).

    DDIM starts below the noisiest timestep, but from pure noise. ComfyUI sees to that at the
    noisiest one only, and starts with noise of sigma elsewhere.
    """
    sampling = model.get_model_object("model_sampling")
    if math.isclose(sigma, sampling.sigma_max, rel_tol=1e-5):
        return 1.0
    return 1 / float(sampling.calculate_input(sigma, sigma.reshape(1)))


def _windows(
    model: comfy.model_patcher.ModelPatcher, num_frames: int, settings: SamplingConfig
) -> ContextWindows:
    pipe = HummingbirdPipeline(hummingbird_unet(model))
    return pipe.context_windows(num_frames, from_noise=settings.strength == 1)


def _empty_for(model: comfy.model_patcher.ModelPatcher, settings: SamplingConfig) -> Latent:
    trained = trained_sizes(model)
    width, height = settings.width or trained.width, settings.height or trained.height
    return empty_video(width, height, settings.frames)


def _check(
    model: comfy.model_patcher.ModelPatcher,
    settings: SamplingConfig,
    seed: int,
    latent: Latent | None,
) -> None:
    config = hummingbird_unet(model).config
    check_settings(
        ["(encoded already)"],
        width=settings.width or None,
        height=settings.height or None,
        num_frames=settings.frames,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        fps=settings.fps,
        seed=seed,
    )
    if not 0 < settings.strength <= 1:
        raise InputError(f"input strength: got {settings.strength}, expected above 0, at most 1")
    if latent is None and settings.strength < 1:
        raise InputError(
            f"input latent: got nothing, expected a video, of which strength {settings.strength:g} "
            "replaces a part: connect VAE Encode, or set strength to 1"
        )
    if latent is not None:
        check_video_latent(latent, config.in_channels, "latent")


def _check_text(
    model: comfy.model_patcher.ModelPatcher, conditioning: Conditioning, input_name: str
) -> None:
    expected = hummingbird_unet(model).config.context_dim
    for text, _ in conditioning:
        if text.shape[-1] != expected:
            raise InputError(
                f"input {input_name}: got text of {text.shape[-1]} channels, expected {expected}: "
                "encode the prompt with the CLIP of the same Load Hummingbird"
            )


def check_video_latent(latent: Latent, channels: int, input_name: str) -> None:
    """Raises InputError unless the LATENT of an input is a video of `channels` channels."""
    shape = tuple(latent["samples"].shape)
    if len(shape) != 5 or shape[1] != channels:
        raise InputError(
            f"input {input_name}: got shape {shape}, expected [batch, {channels}, frames, height, "
            "width]: encode frames with the VAE of Load Hummingbird, or take Empty Hummingbird "
            "Video"
        )
