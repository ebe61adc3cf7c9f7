"""Sampling in ComfyUI with the exact result of `hummingbird generate`.

All noise is drawn on the CPU from the two random streams of the core's `sampling`. ComfyUI's own
`lcm` sampler draws its step noise on the device, and in older releases from the same stream as the
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

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.inputs.prompt_parts import is_schedule
from ....hummingbird_core.pipeline import HummingbirdPipeline
from ....hummingbird_core.pipeline.loops import complete_loop
from ....hummingbird_core.sampling import (
    CONSISTENCY_GRID,
    TRAIN_TIMESTEPS,
    consistency_sigmas,
    initial_noise,
    sample_lcm_kdiffusion,
)
from ....hummingbird_core.sampling.context_windows import ContextWindows, freenoise_shuffle
from ....hummingbird_core.sampling.ddim import ddim_timesteps
from ....hummingbird_core.sampling.start_frames import frame_init, with_start
from ....hummingbird_core.settings import (
    Loop,
    ModelDefaults,
    check_loop,
    check_settings,
    sampled_frames,
)
from ..errors import naming
from ..io.latents import Latent, check_video_latent, empty_video, size_of, starting_with
from ..model.guard import check_model
from ..model.memory import check_frames
from ..model.schedule import check_schedule
from ..model.timeline import PROMPT_KEY, is_loop, with_loop
from ..model.unet import hummingbird_unet
from .context_windows import has_windows, with_windows

Conditioning = list[Any]


@dataclass(frozen=True)
class SamplingConfig:
    """Inputs of Sample Video and Best of N; a width or height of 0 means the model's own."""

    width: int
    height: int
    frames: int
    steps: int
    guidance: float
    fps: float
    strength: float = 1.0
    loop: Loop = False


def consistency_sampler() -> comfy.samplers.KSAMPLER:
    """Return the consistency SAMPLER; ComfyUI passes it the seed of the sampling node."""
    return comfy.samplers.KSAMPLER(sample_lcm_kdiffusion)


def sigmas_from(steps: int, strength: float) -> Tensor:
    """Return the sigmas `[steps + 1]` of consistency steps, ending with 0.

    With `strength` below 1, the last `steps` of a longer schedule as for ComfyUI's `denoise`, or
    fewer if the grid of noise levels has fewer below `strength`.
    """
    steps_in_all, steps = _last_part(steps, strength, CONSISTENCY_GRID)
    return consistency_sigmas(steps_in_all)[-(steps + 1) :]


def _last_part(steps: int, strength: float, longest: int) -> tuple[int, int]:
    """Return the length of the whole schedule and the number of steps taken at its end."""
    if steps <= longest * strength:
        return int(steps / strength), steps
    return longest, max(1, round(longest * strength))


def trained_sizes(model: comfy.model_patcher.ModelPatcher) -> ModelDefaults:
    """Return the sizes the MODEL was trained on."""
    return HummingbirdPipeline(hummingbird_unet(model)).trained


def sample_video(
    model: comfy.model_patcher.ModelPatcher,
    positive: Conditioning,
    settings: SamplingConfig,
    seed: int,
    *,
    negative: Conditioning | None = None,
    latent: Latent | None = None,
    start_image: Latent | None = None,
) -> Latent:
    """Denoise noise, or a given video, to a LATENT.

    Videos longer than the model was trained on are sampled in windows, unless the MODEL already has
    context windows.

    Args:
        model: a student (one U-Net call per step) or a teacher (two, with guidance).
        positive: conditioning of the prompt.
        settings: `latent`, if given, replaces the sizes.
        seed: of the first video of a batch; the next ones have seed + 1, ...
        negative: for classifier-free guidance of teachers, and for nodes that compare with it.
        latent: video to start from, with `settings.strength`.
        start_image: first frames, which are kept; without `latent`, the video has its size.

    Raises:
        InputError: names the input to change.
    """
    _check(model, settings, seed, latent)
    for name, conditioning in (("positive", positive), ("negative", negative or [])):
        _check_text(model, conditioning, name)
    start = latent or _empty_for(model, settings, start_image)
    check_frames(tuple(start["samples"].shape))
    if settings.loop == "swing":
        start = _way_there(start, positive)
    elif settings.loop:
        model = with_loop(model)
    given = start if start_image is None else starting_with(start, start_image)
    values = {"guidance": settings.guidance, "frame_rate": settings.fps}
    positive = node_helpers.conditioning_set_values(positive, values)
    noise = initial_noise(tuple(given["samples"].shape), seed)
    windows = _windows(model, noise.shape[2], settings)
    if windows.are_needed(noise.shape[2]) and not has_windows(model):
        noise, model = freenoise_shuffle(noise, windows), with_windows(model, windows)
    if start_image is not None and settings.strength == 1:
        noise = frame_init(noise, model.model.process_latent_in(start_image["samples"]))
    if hummingbird_unet(model).config.guidance_embedding:
        run = _Run(1.0, consistency_sampler(), sigmas_from(settings.steps, settings.strength))
        # At a guidance scale of 1 ComfyUI skips the negative call, unless a node asks for it.
        second = _compared_with(model, positive, negative, values)
        samples = run(model, positive, second, given, noise, seed)
    elif negative is None:
        raise InputError(
            "input negative: got nothing, expected the conditioning of an empty prompt: a teacher "
            "is guided by the difference; connect another Encode Prompt"
        )
    else:
        negative = node_helpers.conditioning_set_values(negative, values)
        run = _teacher_run(model, settings)
        samples = run(_guided_at_high_noise(model), positive, negative, given, noise, seed)
    if start_image is not None:  # as they are: samplers round them
        samples = with_start(samples, start_image["samples"])
    samples = complete_loop(samples, settings.loop)
    return {**start, "samples": samples, "frame_rate": settings.fps}


def _way_there(start: Latent, positive: Conditioning) -> Latent:
    """Return the frames of a swing that are sampled, after a check of what has to fit it."""
    num_frames = start["samples"].shape[2]
    with naming("frames"):
        check_loop("swing", num_frames)
    if any(is_schedule(v[PROMPT_KEY].prompt) for _, v in positive if PROMPT_KEY in v):
        raise InputError(
            "input positive: got a prompt over time with loop swing, expected a single text: on "
            "its way back the video would tell the story backwards"
        )
    if "noise_mask" in start:
        raise InputError(
            "input latent: got a mask with loop swing, expected none: the way back is a copy"
        )
    return {**start, "samples": start["samples"][:, :, : sampled_frames(num_frames, "swing")]}


def _compared_with(
    model: comfy.model_patcher.ModelPatcher,
    positive: Conditioning,
    negative: Conditioning | None,
    values: dict[str, Any],
) -> Conditioning:
    """Return the second conditioning of a student: without an effect, unless a node compares both.

    Normalized Attention Guidance is such a node.
    """
    if not model.model_options.get("disable_cfg1_optimization"):
        return positive
    if negative is None:
        raise InputError(
            "input negative: got nothing, expected a conditioning: a node in the model's path "
            "compares the prompt with it; connect another Encode Prompt"
        )
    return node_helpers.conditioning_set_values(negative, values)


@dataclass(frozen=True)
class _Run:
    """Settings of one call of ComfyUI's sampling, which manages memory, previews and interrupts."""

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
        # DDIM ends at t = 0, where sigma > 0: x_t = (x_0 + sigma eps) / sqrt(1 + sigma^2).
        return noised / (1 + float(self.sigmas[-1]) ** 2) ** 0.5


def _guided_at_high_noise(
    model: comfy.model_patcher.ModelPatcher,
) -> comfy.model_patcher.ModelPatcher:
    """Return the MODEL guided at the noisy timesteps only, as the pipeline does it."""
    cfg_start_timestep = trained_sizes(model).cfg_start_timestep
    if not cfg_start_timestep:
        return model
    timestep = model.get_model_object("model_sampling").timestep
    # Of another node, such as RescaleCFG.
    guide_always = model.model_options.get("sampler_cfg_function", _classifier_free_guidance)

    def guide(given: dict[str, Any]) -> Tensor:
        is_guided = timestep(given["timestep"]) >= cfg_start_timestep  # [B], of sigmas
        unguided = _classifier_free_guidance({**given, "cond_scale": 1.0})
        return torch.where(is_guided.reshape(-1, 1, 1, 1, 1), guide_always(given), unguided)

    guided = model.clone()
    guided.set_model_sampler_cfg_function(guide)
    return guided


def _classifier_free_guidance(given: dict[str, Any]) -> Tensor:
    cond, uncond = given["cond"], given["uncond"]
    return uncond + given["cond_scale"] * (cond - uncond)


def _teacher_run(model: comfy.model_patcher.ModelPatcher, settings: SamplingConfig) -> _Run:
    """Return DDIM with eta 0, which is Euler's method on DDIM's sigmas."""
    sigmas = _ddim_sigmas(model, settings)
    scale = _start_scale(model, sigmas[0]) if settings.strength == 1 else 1.0
    return _Run(settings.guidance, comfy.samplers.ksampler("euler"), sigmas, scale)


def _ddim_sigmas(model: comfy.model_patcher.ModelPatcher, settings: SamplingConfig) -> Tensor:
    """Return the last `settings.steps` sigmas of the schedule, longer for a strength below 1."""
    table = model.get_model_object("model_sampling").sigmas.cpu()
    steps_in_all, steps = _last_part(settings.steps, settings.strength, TRAIN_TIMESTEPS // 2)
    timesteps = ddim_timesteps(steps_in_all)[-steps:].tolist()
    last = max(timesteps[-1] - TRAIN_TIMESTEPS // steps_in_all, 0)
    return table[[*timesteps, last]]


def _start_scale(model: comfy.model_patcher.ModelPatcher, sigma: Tensor) -> float:
    """Return the factor for the noise that makes the U-Net's first input N(0, 1).

    DDIM starts below the noisiest timestep, yet from pure noise. ComfyUI scales for that at the
    noisiest timestep only, and elsewhere starts with noise of standard deviation sigma.
    """
    sampling = model.get_model_object("model_sampling")
    if math.isclose(sigma, sampling.sigma_max, rel_tol=1e-5):
        return 1.0
    return 1 / float(sampling.calculate_input(sigma, sigma.reshape(1)))


def _windows(
    model: comfy.model_patcher.ModelPatcher, num_frames: int, settings: SamplingConfig
) -> ContextWindows:
    pipe = HummingbirdPipeline(hummingbird_unet(model))
    is_from_noise = settings.strength == 1
    return pipe.context_windows(num_frames, from_noise=is_from_noise, loop=is_loop(model))


def _empty_for(
    model: comfy.model_patcher.ModelPatcher, settings: SamplingConfig, start_image: Latent | None
) -> Latent:
    if start_image is not None:
        return empty_video(*size_of(start_image), settings.frames)
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
            f"input latent: got nothing, expected a video to change with strength "
            f"{settings.strength:g}: connect VAE Encode, or set strength to 1"
        )
    if latent is not None:
        check_video_latent(latent, config.in_channels, "latent")
    check_model(model)
    check_schedule(model, whole=True)  # the steps are those of the trained one


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
