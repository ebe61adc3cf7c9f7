"""Distillation of the full VAE decoder into a pruned one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor

from ...checkpoints.layout import LICENSE_KEY
from ...files import atomic_write, check_destination
from ...vae.tiny import PRUNED_KEY, PrunedDecoderConfig, psnr
from ..loop.config import TrainConfig
from ..loop.micro_batch import MicroBatch
from ..loop.snapshots import Snapshots, WriteWeights
from ..loop.tracking import Watch
from ..loop.trainer import train
from ..nano.autoencoder import perturbed

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

FrameSource = Callable[[Sequence[int]], Tensor]  # seeds -> frames [B, 3, H, W] in -1..1
# Largest std of the noise on the latents, as a share of theirs: the U-Net's latents are not as
# clean as the encoder's.
LATENT_NOISE = 0.1
HELD_OUT_SEED = 2**40  # beyond the seeds of any training step
HELD_OUT_FRAMES = 64


def distil_decoder(
    full: AutoencoderKL,
    small: AutoencoderKL,
    frames: FrameSource,
    settings: TrainConfig,
    folder: Path,
    write: WriteWeights | None = None,
    tracker: str = "",
) -> AutoencoderKL:
    """Train `small` in place and return it, with its averaged weights.

    The loss is |e| + e^2 of the decoded frames; it leaves natural textures slightly blurred.

    Args:
        full: frozen VAE on the training device; encodes the frames and decodes the targets.
        small: decoder to train.
        frames: source of training frames.
        settings: settings of the training loop; a batch counts frames.
        folder: folder of the training state, from which an interrupted run continues.
        write: writes `small` as it is then, for `checkpoints/` in the folder; None: makes none.
        tracker: see `loop.tracking.Watch`.
    """

    def loss(micro_batch: MicroBatch) -> dict[str, Tensor]:
        with torch.no_grad():
            latents = _latents(full, frames(micro_batch.clip_seeds))
            latents = perturbed(latents, LATENT_NOISE * latents.std(), micro_batch)
            target = full.decode(latents).sample
        error = small.decode(latents).sample - target
        return {"l1": error.abs().mean(), "l2": error.square().mean()}

    snapshots = (
        Snapshots(folder / "checkpoints", write, settings.keep_last, False) if write else None
    )
    watch = Watch(tracker=tracker)
    return train("decoder", small, loss, settings, folder, snapshots=snapshots, watch=watch)


def _latents(vae: Any, frames: Tensor) -> Tensor:
    return vae.encode(frames.to(vae.device)).latent_dist.mean


def held_out_frames(frames: FrameSource, count: int = HELD_OUT_FRAMES) -> Tensor:
    """Return frames `[count, 3, H, W]` in -1..1 that no training step uses."""
    return frames(range(HELD_OUT_SEED, HELD_OUT_SEED + count))


@torch.no_grad()
def psnr_against(full: Any, small: Any, frames_: Tensor) -> float:
    """Return the PSNR in dB of `small` against `full` on frames `[B, 3, H, W]` in -1..1."""
    latents = _latents(full, frames_)
    return psnr((small.decode(z).sample, full.decode(z).sample) for z in latents.split(8))


def save_decoder(path: Path, small: Any, *, psnr: float, license: str) -> None:
    """Write an fp16 file that `load_fast_decoder` reads; an existing one is replaced."""
    config: Any = small.config
    names = PrunedDecoderConfig.__dataclass_fields__
    shape = PrunedDecoderConfig(**{name: config[name] for name in names})
    metadata = {
        PRUNED_KEY: json.dumps(asdict(shape)),
        "hummingbird.psnr": f"{psnr:.2f}",
        LICENSE_KEY: license,
    }
    check_destination(path, overwrite=True)
    tensors = {key: value.half().cpu().contiguous() for key, value in small.state_dict().items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))
