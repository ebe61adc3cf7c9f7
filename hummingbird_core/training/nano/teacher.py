"""Training of the nano teacher, a noise-predicting diffusion model.

Plain noise prediction never learns the direction of motion here. At t = 999 the noisy latents still
hold 0.5 % of the signal, which reveals the direction, so training does not need the text for it;
sampling starts from pure noise. Therefore the last timestep is trained on pure noise, and timesteps
are drawn towards high noise, with a loss weighted like an error in x0, which is large there. (A
schedule of zero terminal SNR, arXiv 2305.08891, would do the same, but the schedule is that of the
released models.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ...nano.latents import foreground_weight
from ...nano.world.motion import LONG_FRAMES, NUM_FRAMES
from ...text.encoder import TextEncoder
from ...unet.model import HummingbirdUNet, UNetConfig
from ..data.batch import batch_of
from ..data.nano_clips import NanoClips
from ..distillation.losses import inverse_snr_weight
from ..distillation.noise import NoiseConfig, draw_timesteps, x0_to_eps
from ..loop.config import TrainConfig
from ..loop.distributed import distributed_state
from ..loop.micro_batch import MicroBatch
from ..loop.modules import freeze
from ..loop.trainer import train

CAPTION_DROPOUT = 0.1  # share of clips without text, for classifier-free guidance
NOISE = NoiseConfig(timesteps="bins", zero_terminal_snr=True)


@dataclass(frozen=True)
class NanoTeacherLoss:
    """Noise prediction error, weighted like an error in x0, on clips of growing length.

    A batch entry is one clip of 16 or 26 frames, two of 8 or four of 4, so that a step costs about
    the same.

    Attributes:
        unet: U-Net to train.
        text_encoder: frozen text encoder.
        steps: total number of steps.
    """

    unet: HummingbirdUNet
    text_encoder: TextEncoder
    steps: int

    def __call__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """Return {"noise": loss} of a micro-batch."""
        num_frames = clip_length(micro_batch.step, self.steps)
        micro_batch = micro_batch.wider(max(NUM_FRAMES // num_frames, 1))
        device = distributed_state().device
        clips = NanoClips(num_frames, micro_batch.seed, CAPTION_DROPOUT)
        batch = batch_of(clips, micro_batch).to(device)
        noise, (u,) = micro_batch.draw(batch.latents.shape[1:], 1, device)
        t = draw_timesteps(u, NOISE)
        sample = NOISE.noisy(batch.latents, noise, t)
        context = self.text_encoder.encode(batch.captions).embeddings
        eps = self.unet(sample, t, context, fps=batch.fps)
        error = (eps - x0_to_eps(batch.latents, sample, t)).square()
        error = (foreground_weight(batch.latents) * error).mean(dim=(1, 2, 3, 4))  # [B]
        return {"noise": (inverse_snr_weight(t) * error).mean()}


def train_teacher(
    text_encoder: TextEncoder, settings: TrainConfig, folder: Path
) -> HummingbirdUNet:
    """Train a teacher from scratch with a frozen text encoder."""
    unet = HummingbirdUNet(UNetConfig.from_preset("nano-teacher"))
    zero_residual_branches(unet)
    freeze(text_encoder, settings.precision)
    return train(
        "teacher", unet, NanoTeacherLoss(unet, text_encoder, settings.steps), settings, folder
    )


def zero_residual_branches(unet: HummingbirdUNet) -> None:
    """Zero the last layer of every residual branch and of the U-Net, for a stable start."""
    last_layers = ("out_layers.3", "conv4.3", "proj_out", "out.2")
    for name, module in unet.named_modules():
        if name.endswith(last_layers):
            for parameter in module.parameters():
                nn.init.zeros_(parameter)


def clip_length(step: int, steps: int) -> int:
    """Return the clip length of a step: 4, then 8, finally 16 and at every third step 26.

    Short clips come first, since more clips per step teach the meaning of words faster.
    """
    progress = step / steps
    if progress < 0.8:
        return NUM_FRAMES // (4 if progress < 0.6 else 2)
    return LONG_FRAMES if step % 3 == 0 else NUM_FRAMES
