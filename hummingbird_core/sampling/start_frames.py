"""First frames of a video that are given and kept, while a sampler makes the others.

Before each prediction the given frames, with the noise of its timestep, take the place of the
sampled ones: the replacement of RePaint (arXiv 2201.09865, equation 8), along time as in Video
Diffusion Models (arXiv 2204.03458, section 3.1), without going back to noisier steps. A
text-to-video model was never trained to continue frames: it sees them as it sees its own, and
tends to agree with them.

At the noisiest timestep the kept frames are almost noise, and a model in few steps decides there
where everything is. `frame_init` lets the starting noise of the other frames say it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .guidance import EpsModel
from .schedule import add_noise, scale_latents

# Timestep whose signal the starting noise has. The built-in model follows start images alike from
# 759 to 639, and its motions are as without one; from 879 on it leaves some of them.
FRAME_INIT_TIMESTEP = 699


def with_start(latents: Tensor, start: Tensor) -> Tensor:
    """Return latents `[B, 4, T, h, w]` whose first frames are `start`, `[1 or B, 4, K, h, w]`."""
    kept = start.to(latents).expand(len(latents), -1, -1, -1, -1)
    return torch.cat([kept, latents[:, :, start.shape[2] :]], dim=2)


def at_rest(latents: Tensor, start: Tensor) -> Tensor:
    """Return a video like latents `[B, 4, T, h, w]` that rests at the last frame of `start`."""
    # [1 or B, 4, 1, h, w] -> [B, 4, T, h, w]
    return start[:, :, -1:].to(latents).expand_as(latents)


def frame_init(noise: Tensor, start: Tensor) -> Tensor:
    """Return starting noise that shows where the last kept frame has everything.

    Follows FrameInit of ConsistI2V (arXiv 2402.04324) without its filters: a video
    that rests at this frame, with the noise of `FRAME_INIT_TIMESTEP`, is the start at t = 999.

    Args:
        noise: N(0, 1) noise `[B, 4, T, h, w]`. That of the kept frames remains as it is, for
            `keep_start`.
        start: clean latents of the first frames, `[1 or B, 4, K, h, w]`.
    """
    # x_T = sqrt(a_t) x_still + sqrt(1 - a_t) noise
    first = add_noise(at_rest(noise, start), noise, FRAME_INIT_TIMESTEP)
    return with_start(first, noise[:, :, : start.shape[2]])


def keep_start(
    predict_noise: EpsModel, start: Tensor, noise: Tensor, *, rescale: bool = False
) -> EpsModel:
    """Return a prediction of the noise in videos whose first frames are known.

    Args:
        predict_noise: `predict_noise(sample, t)` gives the noise.
        start: clean latents of the first frames, `[1 or B, 4, K, h, w]`.
        noise: N(0, 1) noise of the whole video, `[B, 4, T, h, w]`, added to them at every
            timestep; the starting noise, as ComfyUI does it.
        rescale: whether the model knows clean latents times VideoCrafter2's `latent_scale`.
    """
    noise = noise[:, :, : start.shape[2]]

    def predict(sample: Tensor, t: int) -> Tensor:
        clean = scale_latents(start, t) if rescale else start
        # x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise for the kept frames
        return predict_noise(with_start(sample, add_noise(clean, noise, t)), t)

    return predict
