"""The text sketch of a nano U-Net, found by least squares before the U-Net is trained.

Gradients find it slowly: of pairs whose motions were exchanged, a U-Net heard nothing after 17,700
steps, nor 450 steps later that were mostly of pure noise and such pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm import tqdm

from ...text.encoder import TextEncoder
from ...unet.sketch import TextSketch, space_waves, time_waves
from ..data.nano_clips import NanoClips

CLIPS = 16_384
BATCH = 64
CAPTION_DROPOUT = 0.1  # so that the sketch of a silent caption is the mean of all clips
RIDGE = 1e-4  # against the mean of the diagonal


@torch.no_grad()
def fit_text_sketch(
    sketch: TextSketch, text_encoder: TextEncoder, seed: int = 0, count: int = CLIPS
) -> None:
    """Set the amplitudes of the sketch to those that are closest to clips of the world.

    The waves u over the frame are orthogonal, so each clip has coefficients c_i(t) = <x_0(t), u_i>
    / <u_i, u_i>. They are to be W_i^T (e x v(t)) with e of the mean text token and 1, and v the
    waves of a frame: one linear regression for all i. Its normal equations are summed over clips.

    Args:
        sketch: changed in place.
        text_encoder: of the captions.
        seed: of the clips.
        count: clips.
    """
    gram, moments = torch.zeros(()), torch.zeros(())
    clips = NanoClips(seed=seed, caption_dropout=CAPTION_DROPOUT, loops=False)
    for number in tqdm(range(-(-count // BATCH)), desc="text sketch", disable=None, leave=False):
        drawn = clips.batch(number, size=BATCH)
        e = text_encoder.encode(drawn.captions, warn=False).embeddings.mean(dim=1)
        e = torch.cat([e, torch.ones(BATCH, 1)], dim=1)  # [B, context_dim + 1]
        v = time_waves(drawn.latents.shape[2], drawn.fps)  # [B, T, V]
        # [B, D, 1, 1] * ... -> [B, T, V, D] -> [B*T, V*D]
        features = (v[..., None] * e[:, None, None]).flatten(0, 1).flatten(1)
        gram = gram + (features.T @ features).double()
        moments = moments + (features.T @ coefficients(drawn.latents)).double()
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    solved = torch.linalg.solve(gram + ridge, moments).float()  # [V*D, U*4]
    # [V*D, U*4] -> [V, D, U*4] -> [V, U*4, D] -> [V*U*4, D]
    amplitudes = solved.unflatten(0, (v.shape[-1], -1)).transpose(1, 2).flatten(0, 1)
    sketch.proj.weight.copy_(amplitudes[:, :-1])
    sketch.proj.bias.copy_(amplitudes[:, -1])


def coefficients(latents: Tensor) -> Tensor:
    """Return the coefficients `[B*T, U*4]` of clips `[B, 4, T, H, W]` on the waves over a frame."""
    waves = space_waves(*latents.shape[-2:])
    waves = waves / waves.square().sum(dim=(1, 2), keepdim=True)
    return torch.einsum("bcthw,uhw->btuc", latents, waves).flatten(0, 1).flatten(1)
