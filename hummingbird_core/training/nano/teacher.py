"""Training of the nano teacher, a noise-predicting diffusion model.

Plain noise prediction never learns the direction of motion here. At t = 999 the noisy latents still
hold 0.5 % of the signal, which reveals the direction, so training does not need the text for it;
sampling starts from pure noise. Therefore the last timestep is trained on signals from none to the
schedule's, and timesteps are drawn towards high noise, with a loss weighted like an error in x0,
which is large there. (A schedule of zero terminal SNR, arXiv 2305.08891, would do the same, but the
schedule is that of the released models.)

All cells of a clip weigh the same. A weight that depends on the clean clip moves the optimum of the
loss from E[x_0 | x_t] to E[w x_0 | x_t] / E[w | x_t]: with more weight on subjects, the prediction
draws them larger than they are while they are still uncertain, and sampling follows it, so that all
seeds come out big.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...nano.world.paths import LONG_FRAMES, NUM_FRAMES
from ...terminal import get_logger
from ...text.encoder import TextEncoder
from ...unet.model import HummingbirdUNet, UNetConfig
from ..data.batch import batch_of
from ..data.nano_clips import NanoClips
from ..distillation.losses import inverse_snr_weight
from ..distillation.noise import (
    NoiseConfig,
    add_noise_below_terminal,
    draw_timesteps,
    x0_to_eps,
)
from ..loop.config import TrainConfig
from ..loop.distributed import distributed_state
from ..loop.micro_batch import MicroBatch
from ..loop.modules import freeze
from ..loop.trainer import train

logger = get_logger(__name__)

SHORT_SHARE = 0.6  # share of the steps with short clips
CAPTION_DROPOUT = 0.1  # share of clips without text, for classifier-free guidance
PURE_NOISE_SHARE = 0.2  # of the clips at the last timestep
NOISE = NoiseConfig(timesteps="bins")


@dataclass(frozen=True)
class NanoTeacherLoss:
    """Noise prediction error, weighted like an error in x0, on clips of growing length.

    A batch entry is one clip of 16 or 26 frames, or two of 8, so that a step costs about the same.

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
        noise, (u, v) = micro_batch.draw(batch.latents.shape[1:], 2, device)
        t = draw_timesteps(u, NOISE)
        # v in [p, 1) -> [0, 1); below p there is no signal
        share = ((v - PURE_NOISE_SHARE) / (1 - PURE_NOISE_SHARE)).clamp(min=0)
        sample = add_noise_below_terminal(batch.latents, noise, t, share)
        context = self.text_encoder.encode(batch.captions).embeddings
        eps = self.unet(sample, t, context, fps=batch.fps, loop=batch.loop)
        error = (eps - x0_to_eps(batch.latents, sample, t)).square().mean(dim=(1, 2, 3, 4))  # [B]
        return {"noise": (inverse_snr_weight(t) * error).mean()}


def train_teacher(
    text_encoder: TextEncoder,
    settings: TrainConfig,
    folder: Path,
    initial: HummingbirdUNet | None = None,
) -> HummingbirdUNet:
    """Train a teacher with a frozen text encoder.

    Args:
        text_encoder: of the captions.
        settings: of the training.
        folder: of the state.
        initial: an earlier teacher to start from; its weights of other shapes are not used.

    Raises:
        InputError: no weight of `initial` fits.
    """
    unet = HummingbirdUNet(UNetConfig.from_preset("nano-teacher"))
    zero_residual_branches(unet)
    if initial is not None:
        others = copy_matching(initial, unet)
        logger.info("the teacher starts from an earlier one, except for %s", others or "nothing")
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


@torch.no_grad()
def copy_matching(source: nn.Module, target: nn.Module) -> list[str]:
    """Copy weights of the same name and shape; return the names of the others.

    Raises:
        InputError: there are no such weights.
    """
    weights, wanted = source.state_dict(), target.state_dict()
    fits = {n for n, w in wanted.items() if n in weights and weights[n].shape == w.shape}
    if not fits:
        raise InputError(
            "got an initial model without a single weight of the same name and shape, expected an "
            "earlier teacher: give its file"
        )
    for name in fits:
        wanted[name].copy_(weights[name])
    return [name for name in wanted if name not in fits]


def clip_length(step: int, steps: int) -> int:
    """Return the clip length of a step: 8, finally 16 and at every third step 26.

    Short clips come first, since more clips per step teach the meaning of words faster. In fewer
    than 8 frames one does not see what bobs and what spins.
    """
    if step < SHORT_SHARE * steps:
        return NUM_FRAMES // 2
    return LONG_FRAMES if step % 3 == 0 else NUM_FRAMES
