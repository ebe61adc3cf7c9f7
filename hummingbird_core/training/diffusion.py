"""Trains the nano teacher, a noise-predicting diffusion model.

Plain noise prediction never learns the direction of motion here. At t = 999 the noisy latents still
hold 0.5 % of the signal, and the sign of the motion can be read from that, so in training the text
is not needed for it; in sampling there is only noise to read. So the last step is trained on what
sampling starts from, pure noise, and steps are drawn towards high noise, with a loss weighted like
an error in x0, which is large there. (A schedule that ends at zero signal, arXiv 2305.08891, would
do the same, but the schedule is that of the released models.)
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor, nn

from ..sampling import TRAIN_TIMESTEPS, add_noise, alphas_cumprod, signal_and_noise_rates
from ..text_encoder import TextEncoder
from ..unet import HummingbirdUNet, UNetConfig
from . import shapes
from .latents import clip_batch, foreground_weight
from .loop import Schedule, seeded, train

LAST_STEP = TRAIN_TIMESTEPS - 1
CAPTION_DROPOUT = 0.1  # share of clips without text, for classifier-free guidance


class Teacher(nn.Module):
    """The U-Net that is trained, and the frozen text encoder that it reads."""

    def __init__(self, text_encoder: TextEncoder):
        super().__init__()
        self.text_encoder = text_encoder.requires_grad_(False)
        self.unet = HummingbirdUNet(UNetConfig.from_preset("nano-teacher"))
        zero_residual_branches(self.unet)


def zero_residual_branches(unet: HummingbirdUNet) -> None:
    """Makes every residual branch and the prediction start at zero: stable from the first step."""
    last_layers = ("out_layers.3", "conv4.3", "proj_out", "out.2")
    for name, module in unet.named_modules():
        if name.endswith(last_layers):
            for parameter in module.parameters():
                nn.init.zeros_(parameter)


def train_teacher(text_encoder: TextEncoder, schedule: Schedule, folder: Path) -> Teacher:
    """Trains a teacher from scratch, on longer and longer clips."""
    teacher = Teacher(text_encoder)

    def loss(step: int, seed: int) -> dict[str, Tensor]:
        batch = clip_batch(clip_length(step / schedule.steps), seed)
        generator = seeded(seed)
        noise = torch.randn(batch.latents.shape, generator=generator)
        t = sample_timesteps(len(noise), generator)
        sample = noisy_sample(batch.latents, noise, t)
        context = teacher.text_encoder.encode(_drop_captions(batch.captions, seed)).embeddings
        eps = teacher.unet(sample, t, context, fps=batch.fps)
        error = (eps - noise_between(batch.latents, sample, t)).square()
        error = (foreground_weight(batch.latents) * error).mean(dim=(1, 2, 3, 4))
        return {"noise": (x0_weight(t) * error).mean()}

    return train("teacher", teacher, loss, schedule, folder)


def clip_length(progress: float) -> int:
    """Frames of the clips, 4, 8 and at last 16: more clips a step teach more of what words mean."""
    return shapes.NUM_FRAMES // (4 if progress < 0.5 else 2 if progress < 0.75 else 1)


def sample_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """One step in eight is the last, one is at 900 or above, the others are anywhere."""
    low = torch.tensor([1.0, 0.9] + [0.0] * 6)
    # Drawn, not dealt out in turn: a process with few clips would never see the low steps.
    low = low[torch.randint(len(low), (count,), generator=generator)]
    u = low + (1 - low) * torch.rand(count, generator=generator)
    return (TRAIN_TIMESTEPS * u).long().clamp(max=LAST_STEP)


def noisy_sample(latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """`add_noise`, but at the last step nothing of the latents is left, as when sampling starts."""
    is_last = (t == LAST_STEP).reshape(-1, 1, 1, 1, 1)
    return torch.where(is_last, noise, add_noise(latents, noise, t))


def noise_between(latents: Tensor, sample: Tensor, t: Tensor) -> Tensor:
    """The noise prediction that leads from `sample` to `latents`; the inverse of `predict_x0`."""
    signal, sigma = signal_and_noise_rates(t, sample)
    return (sample - signal * latents) / sigma


def x0_weight(t: Tensor) -> Tensor:
    """(1 - a) / a: makes an error in the noise count like the one in x0 it leads to.

    At least 1, though: below t = 400 shapes get their edges, where errors in x0 are small.
    """
    alphas = alphas_cumprod()[t]
    return ((1 - alphas) / alphas).clamp(min=1).float()


def _drop_captions(captions: list[str], seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["" if rng.random() < CAPTION_DROPOUT else caption for caption in captions]
