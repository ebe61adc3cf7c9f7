"""From noise to latents: consistency steps, DDIM, guidance, windows for long videos."""

from ..inputs.steps import CONSISTENCY_GRID, TRAIN_TIMESTEPS, check_steps
from ..seeds import MAX_SEED, video_seed
from .consistency import (
    GRID_STRIDE,
    NoiseSampler,
    apply_boundary,
    boundary_scalings,
    consistency_function,
    consistency_sigmas,
    consistency_step,
    consistency_timesteps,
    default_noise_sampler,
    guidance_scale_embedding,
    sample_lcm,
    sample_lcm_kdiffusion,
    timestep_of_sigma,
)
from .noise import initial_noise, step_noise_generator, step_noises
from .schedule import (
    add_noise,
    alpha_sigma,
    alphas_cumprod,
    extract,
    latent_scale,
    predict_x0,
    rescale_latents,
    scale_latents,
)

__all__ = [
    "CONSISTENCY_GRID",
    "GRID_STRIDE",
    "MAX_SEED",
    "TRAIN_TIMESTEPS",
    "NoiseSampler",
    "add_noise",
    "alpha_sigma",
    "alphas_cumprod",
    "apply_boundary",
    "boundary_scalings",
    "check_steps",
    "consistency_function",
    "consistency_sigmas",
    "consistency_step",
    "consistency_timesteps",
    "default_noise_sampler",
    "extract",
    "guidance_scale_embedding",
    "initial_noise",
    "latent_scale",
    "predict_x0",
    "rescale_latents",
    "sample_lcm",
    "sample_lcm_kdiffusion",
    "scale_latents",
    "step_noise_generator",
    "step_noises",
    "timestep_of_sigma",
    "video_seed",
]
