"""Trains the nano teacher, a noise-predicting diffusion model; its text encoder stays random.

Plain noise prediction never learns the direction of motion here. At t = 999 the noisy latents still
hold 0.5 % of the signal, and the sign of the motion can be read from that, so in training the text
is not needed for it; in sampling there is only noise to read. Two things are meant to make the
network learn it from the text: steps drawn towards high noise, and a loss weighted like an error in
x0, which is large where the noise is. Both fade towards plain noise prediction, which is better for
detail.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor, nn

from ..sampling import TRAIN_TIMESTEPS, add_noise, alphas_cumprod
from ..text_encoder import TextConfig, TextEncoder
from ..tokenizer import PADDING_ID, WordTokenizer
from ..unet import HummingbirdUNet, UNetConfig
from . import shapes
from .latents import ShapeClips
from .loop import Schedule, seeded, share, train

BATCH = 16
WORD_STD = 0.5
CAPTION_DROPOUT = 0.1  # share of clips without text, for classifier-free guidance
LONG_CLIPS_FROM = 0.6  # share of the training after which clips have all their frames


class Teacher(nn.Module):
    """The U-Net that is trained, and the text encoder that it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.text_encoder = build_text_encoder()
        self.unet = HummingbirdUNet(UNetConfig.from_preset("nano-teacher"))
        zero_residual_branches(self.unet)


def build_text_encoder() -> TextEncoder:
    """A CLIP text tower of two small blocks that knows the words of the captions, never trained.

    Random vectors tell fifty words apart well enough. Trained along with the U-Net, the tower
    collapsed within 200 steps: all captions came out alike, before the U-Net had learned to look.
    """
    tokenizer = WordTokenizer.from_words(shapes.vocabulary())
    config = TextConfig(
        width=64, layers=2, heads=4, vocab_size=tokenizer.vocab_size, mlp_width=256, skip_last=0
    )
    encoder = TextEncoder(config, tokenizer)
    words, positions = (encoder.get_parameter(name) for name in _embedding_names(encoder))
    nn.init.normal_(words, std=WORD_STD)
    # Without a vector and a place of its own, padding becomes the mean of all words: most of the 77
    # tokens then tell the whole caption, and attention finds it before it has learned to look.
    nn.init.zeros_(words[PADDING_ID])
    nn.init.zeros_(positions)
    return encoder.requires_grad_(False)


def _embedding_names(encoder: TextEncoder) -> list[str]:
    endings = ("token_embedding.weight", "position_embedding.weight")
    names = [name for name, _ in encoder.named_parameters()]
    return [name for ending in endings for name in names if name.endswith(ending)]


def zero_residual_branches(unet: HummingbirdUNet) -> None:
    """Makes every residual branch and the prediction start at zero: stable from the first step."""
    last_layers = ("out_layers.3", "conv4.3", "proj_out", "out.2")
    for name, module in unet.named_modules():
        if name.endswith(last_layers):
            for parameter in module.parameters():
                nn.init.zeros_(parameter)


def train_teacher(clips: ShapeClips, schedule: Schedule, folder: Path) -> Teacher:
    """Trains a teacher from scratch; the first part on short clips, which cost half."""
    teacher = Teacher()

    def loss(step: int, seed: int) -> dict[str, Tensor]:
        progress = step / schedule.steps
        long = progress >= LONG_CLIPS_FROM
        size, frames = (BATCH // 2, shapes.NUM_FRAMES) if long else (BATCH, shapes.NUM_FRAMES // 2)
        batch = clips.batch(share(size), frames, seed)
        generator = seeded(seed)
        noise = torch.randn(batch.latents.shape, generator=generator)
        t = sample_timesteps(len(noise), progress, generator)
        context = teacher.text_encoder.encode(_drop_captions(batch.captions, seed)).embeddings
        eps = teacher.unet(add_noise(batch.latents, noise, t), t, context, fps=batch.fps)
        error = (foreground_weight(batch.latents) * (eps - noise).square()).mean(dim=(1, 2, 3, 4))
        return {"noise": (noise_level_weight(t, progress) * error).mean()}

    return train("teacher", teacher, loss, schedule, folder)


def sample_timesteps(count: int, progress: float, generator: torch.Generator) -> Tensor:
    """Steps 1000 u^k; k rises from 0.6 (towards high noise) to 1 (uniform) over the training."""
    u = torch.rand(count, generator=generator)
    return (TRAIN_TIMESTEPS * u ** (0.6 + 0.4 * progress)).long().clamp(max=TRAIN_TIMESTEPS - 1)


def noise_level_weight(t: Tensor, progress: float) -> Tensor:
    """((1 - a) / a)^k, clamped; k falls from 1 (an error in x0) to 0 (in the noise) at the end."""
    alphas = alphas_cumprod()[t]
    weight = ((1 - alphas) / alphas).clamp(0.2, 250) ** (1 - progress)
    return weight.float()


def foreground_weight(latents: Tensor) -> Tensor:
    """5 where the shape is, 1 elsewhere: it fills an eighth of the picture, but all of the text.

    Args:
        latents: clean, `[B, 4, T, h, w]`.

    Returns:
        `[B, 1, T, h, w]`.
    """
    background = latents.flatten(2).median(dim=-1).values[..., None, None, None]
    distance = (latents - background).abs().mean(dim=1, keepdim=True)
    return 1 + 4.0 * (distance > 0.25 * distance.amax(dim=(2, 3, 4), keepdim=True))


def _drop_captions(captions: list[str], seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["" if rng.random() < CAPTION_DROPOUT else caption for caption in captions]
