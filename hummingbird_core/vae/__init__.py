"""Frames to latents and back."""

from .codec import (
    SCALING_FACTOR,
    check_finite,
    decode_latents,
    diffusers_to_ldm,
    encode_posterior,
    encode_video,
    frames_in_chunk,
    ldm_to_diffusers,
    load_vae,
    spatial_factor,
    vae_config_from_state_dict,
)

__all__ = [
    "SCALING_FACTOR",
    "check_finite",
    "decode_latents",
    "diffusers_to_ldm",
    "encode_posterior",
    "encode_video",
    "frames_in_chunk",
    "ldm_to_diffusers",
    "load_vae",
    "spatial_factor",
    "vae_config_from_state_dict",
]
