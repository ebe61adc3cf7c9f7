"""The VAE: encoding frames to latents and decoding them."""

from .codec import (
    SCALING_FACTOR,
    check_finite,
    decode_latents,
    default_chunk_size,
    encode_posterior,
    encode_video,
    load_vae,
    vae_config_from_state_dict,
    vae_scale_factor,
)
from .names import diffusers_to_ldm, ldm_to_diffusers

__all__ = [
    "SCALING_FACTOR",
    "check_finite",
    "decode_latents",
    "default_chunk_size",
    "diffusers_to_ldm",
    "encode_posterior",
    "encode_video",
    "ldm_to_diffusers",
    "load_vae",
    "vae_config_from_state_dict",
    "vae_scale_factor",
]
