"""The noise schedules that the models were trained on, and what other nodes may make of them."""

from __future__ import annotations

from typing import Any

import comfy.model_base
import comfy.model_patcher
import comfy.model_sampling
import torch
from torch import Tensor

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.sampling import TRAIN_TIMESTEPS, alphas_cumprod, latent_scale

# Timesteps of the student's first steps and a late one; all are in the schedules of 50 steps, too.
PROBES = (999, 759, 519, 279, 39)
TOLERANCE = 1e-3  # relative; ComfyUI's `lcm` differs from plain noise prediction by 1e-6
EXACT = 1e-6


class ScaledLatentSampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
    """Noise schedule of VideoCrafter2, trained on clean latents times `latent_scale()`.

    Let s_t be that scale: x_t = sqrt(a_t) s_t x_0 + sqrt(1 - a_t) eps. So x_t / (sqrt(a_t) s_t)
    is x_0 plus noise of sigma_t / s_t: that is the sigma which samplers see.
    """

    def __init__(self, model_config: Any = None, zsnr: bool | None = None):
        super().__init__(model_config, zsnr)
        alphas, scale = alphas_cumprod(), latent_scale()
        self.set_sigmas(((1 - alphas) / alphas).sqrt() / scale)
        self.register_buffer("input_scale", (alphas.sqrt() * scale).float())

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """Scale a sampler's latents to the U-Net's input x_t."""
        return noise * self._input_scale(sigma, noise)

    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False
    ) -> Tensor:
        """Return the start of sampling; from pure noise, the U-Net's input is that noise."""
        if max_denoise:
            return latent_image + noise / self._input_scale(sigma, noise)
        return super().noise_scaling(sigma, noise, latent_image, max_denoise)

    def _input_scale(self, sigma: Tensor, like: Tensor) -> Tensor:
        scale = self.input_scale.to(like.device)[self.timestep(sigma)]
        return scale.reshape(-1, *[1] * (like.ndim - 1))  # [B or 1, 1, 1, 1, 1]


def trained_sampling(model_config: Any) -> comfy.model_sampling.ModelSamplingDiscrete:
    """Return the schedule that a model of this config was trained on."""
    config = model_config.unet_config["config"]
    # Consistency sampling does without the scale.
    if config.dynamic_rescale and not config.guidance_embedding:
        return ScaledLatentSampling(model_config)
    return comfy.model_base.model_sampling(model_config, comfy.model_base.ModelType.EPS)


def check_schedule(model: comfy.model_patcher.ModelPatcher, *, whole: bool = False) -> None:
    """Check that the MODEL still has a schedule that its U-Net was trained on.

    Args:
        model: one of ours, perhaps behind a ModelSampling node.
        whole: whether it must be the trained schedule itself, not one with fewer steps.

    Raises:
        InputError: the schedule is another one, from which the U-Net would make noise.
    """
    changed = model.object_patches.get("model_sampling")
    if changed is None:
        return
    trained = trained_sampling(model.model.model_config)
    is_whole = len(getattr(changed, "sigmas", ())) == TRAIN_TIMESTEPS
    fits = _agrees(changed, trained, EXACT if whole else TOLERANCE) and (is_whole or not whole)
    if not fits:
        raise InputError(
            f"input model: got the noise schedule of {_node(changed)}, expected the one that this "
            "model was trained on: with another it makes noise, remove that node"
        )


def _agrees(changed: Any, trained: Any, tolerance: float) -> bool:
    """Return whether a schedule gives the U-Net the same input and reads its output the same."""
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 1, 4, 1, 2, 2, generator=generator)  # twice [1, 4, 1, 2, 2]
    for t in PROBES:
        sigma = trained.sigmas[t].reshape(1).cpu()
        if abs(float(changed.timestep(sigma)) - t) > 0.5:
            return False
        pairs = (
            (changed.calculate_input(sigma, x), trained.calculate_input(sigma, x)),
            (changed.calculate_denoised(sigma, eps, x), trained.calculate_denoised(sigma, eps, x)),
        )
        if not all(torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in pairs):
            return False
    return True


def _node(sampling: Any) -> str:
    """Return the name of the node whose method defined the class of a schedule, and its kind."""
    name = type(sampling).__qualname__.partition(".")[0]
    # ModelSamplingAuraFlow calls the method of ModelSamplingSD3, with timesteps of 0..1.
    is_auraflow = name == "ModelSamplingSD3" and getattr(sampling, "multiplier", None) == 1.0
    kind = ", ".join(base.__name__ for base in type(sampling).__bases__)
    return f"{'ModelSamplingAuraFlow' if is_auraflow else name} ({kind})"
