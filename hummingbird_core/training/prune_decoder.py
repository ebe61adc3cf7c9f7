"""`hummingbird train decoder`: a smaller, faster decoder for a VAE, by pruning and distilling it.

With four sampling steps, the full decoder is 44 % of all work. Keeping one norm group in `divisor`
leaves 1 / divisor^2 of the arithmetic of its convolutions.

The built-in one, minutes on two cores (make it again whenever the built-in VAE changes):
    hummingbird train decoder -o hummingbird_core/assets/nano/nano-decoder.safetensors

The same for a released model, hours on one GPU. Not run yet: the weights are not ours to ship.
    hummingbird train decoder --model hummingbird-07b.safetensors --videos curated/videos
        --divisor 4 --layers 1 --steps 20000 --batch 16 --device cuda -o fast-decoder.safetensors
There, add a perceptual term (LPIPS is usual) through `distil_decoder(perceptual=...)`: absolute
and squared error alone leave natural textures blurred. Shapes of one colour have none.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..checkpoints import LICENCE_KEY, load_checkpoint
from ..devices import check_device
from ..errors import InputError
from ..fast_decoders import PRUNED_KEY, PrunedDecoderConfig, build_pruned_decoder
from ..model_files import BUILT_IN, find_model
from ..video import atomic_output, read_video
from . import shapes
from .loop import Schedule, seeded, share, train

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

Frames = Callable[[int, int], Tensor]  # (count, seed) -> [count, 3, H, W] in -1..1
Perceptual = Callable[[Tensor, Tensor], Tensor]  # (decoded, target) -> a scalar
CROP = 256  # pixels of a side, of frames from videos
VIDEO_SUFFIXES = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".gif")
# Deviation of the noise on the latents is drawn up to this share of theirs: the U-Net's latents
# are not as clean as the encoder's.
LATENT_NOISE = 0.1
HELD_OUT_SEED = 2**40  # beyond any training step
HELD_OUT_FRAMES = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `hummingbird train decoder`."""
    parser.add_argument("--model", default="nano", help="whose decoder (default: nano)")
    parser.add_argument("--videos", type=Path, help="a folder of them (default: moving shapes)")
    parser.add_argument("--divisor", type=int, default=4, help="of all widths (default: 4)")
    parser.add_argument("--layers", type=int, default=0, help="blocks a level, less one")
    parser.add_argument("--steps", type=int, default=1500, help="default: 1500")
    parser.add_argument("--batch", type=int, default=16, help="frames a step (default: 16)")
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="default: 0.003")
    parser.add_argument("--device", default="cpu", help="default: cpu")
    parser.add_argument("--folder", type=Path, default=Path("runs/decoder"), help="keeps the state")
    parser.add_argument("-o", "--output", type=Path, required=True, help="FILE.safetensors")


def run(args: argparse.Namespace) -> None:
    """Prunes, distils, measures and writes the decoder."""
    device = check_device(args.device)
    full: Any = load_checkpoint(find_model(args.model), dtype=torch.float32, device=device).vae
    if full is None:
        raise InputError(f"got {args.model} without a VAE: give a whole model")
    frames = video_frames(args.videos) if args.videos else shape_frames
    torch.manual_seed(0)
    small = prune_decoder(full, args.divisor, args.layers).to(device)
    schedule = Schedule(args.steps, args.learning_rate, ema_decay=0.99)
    small = distil_decoder(full, small, frames, schedule, args.folder, batch=args.batch)
    quality = psnr_against(full, small, frames)
    # Decoders of models that are not ours stay under the licence of what they were made from.
    licence = "Apache-2.0" if args.model in BUILT_IN else "that of the model it was made from"
    save_decoder(args.output, small, psnr=quality, licence=licence)
    print(f"PSNR against the full decoder: {quality:.1f} dB; wrote {args.output}")


# --- pruning --------------------------------------------------------------------------------------


def prune_decoder(full: AutoencoderKL, divisor: int, layers_per_block: int) -> AutoencoderKL:
    """A decoder with every `divisor`-th norm group of the full one, and fewer blocks.

    Filters are ranked by their L1 norm (arXiv 1608.08710), whole norm groups at a time, so that
    the statistics of a kept group stay what they were. Attention is left out.

    Args:
        full: not changed.
        divisor: of the widths and of the number of norm groups.
        layers_per_block: residual blocks of each level, less one; at most those of `full`.

    Raises:
        InputError: the number of norm groups is not a multiple of `divisor`, or there are not so
            many blocks.
    """
    config: Any = full.config
    groups, layers = config["norm_num_groups"], config["layers_per_block"]
    if divisor < 1 or groups % divisor or not 0 <= layers_per_block <= layers:
        raise InputError(
            f"got divisor {divisor} and {layers_per_block} layers, expected a divisor of {groups} "
            f"and 0 to {layers} layers"
        )
    small = build_pruned_decoder(
        PrunedDecoderConfig(
            tuple(width // divisor for width in config["block_out_channels"]),
            layers_per_block,
            groups // divisor,
            config["scaling_factor"],
            config["latent_channels"],
        )
    )
    _Pruner(groups, divisor).copy(full, small)
    return small


class _Pruner:
    """Copies the kept filters of one decoder into a smaller one.

    Features run through the decoder as one stream, to which residual blocks add: `stream` holds
    the channels of it that are kept, and changes only where the width does.
    """

    def __init__(self, groups: int, divisor: int):
        self.groups = groups
        self.kept = groups // divisor

    @torch.no_grad()
    def copy(self, full: Any, small: Any) -> None:
        small.post_quant_conv.load_state_dict(full.post_quant_conv.state_dict())
        here, there = full.decoder, small.decoder
        stream = self.strongest(here.conv_in)
        _copy(here.conv_in, there.conv_in, stream)
        for a, b in zip(here.mid_block.resnets, there.mid_block.resnets, strict=True):
            self.res_block(a, b, stream)
        for a_block, b_block in zip(here.up_blocks, there.up_blocks, strict=True):
            # Of the full one's blocks, the first ones: the first also changes the width.
            for a, b in zip(a_block.resnets, b_block.resnets, strict=False):
                stream = self.res_block(a, b, stream)
            for a, b in zip(a_block.upsamplers or [], b_block.upsamplers or [], strict=True):
                _copy(a.conv, b.conv, stream, stream)
        _copy(here.conv_norm_out, there.conv_norm_out, stream)
        _copy(here.conv_out, there.conv_out, None, stream)

    def res_block(self, full: Any, small: Any, stream: Tensor) -> Tensor:
        """Returns the channels kept of what comes out."""
        inner = self.strongest(full.conv1)
        out = stream if full.conv_shortcut is None else self.strongest(full.conv_shortcut)
        _copy(full.norm1, small.norm1, stream)
        _copy(full.conv1, small.conv1, inner, stream)
        _copy(full.norm2, small.norm2, inner)
        _copy(full.conv2, small.conv2, out, inner)
        if full.conv_shortcut is not None:
            _copy(full.conv_shortcut, small.conv_shortcut, out, stream)
        return out

    def strongest(self, conv: nn.Conv2d) -> Tensor:
        """Output channels `[kept]` of the groups with the largest L1 norm, in their order."""
        norms = conv.weight.abs().sum(dim=(1, 2, 3)).unflatten(0, (self.groups, -1))  # [G, C/G]
        best = norms.sum(dim=1).topk(self.kept).indices.sort().values
        size = norms.shape[1]
        return (best[:, None] * size + torch.arange(size, device=best.device)).flatten()


def _copy(full: Any, small: Any, out: Tensor | None, inputs: Tensor | None = None) -> None:
    """The chosen output and input channels of a convolution or norm; None keeps all."""
    weight, bias = full.weight, full.bias
    if out is not None:
        weight, bias = weight[out], bias[out]
    if inputs is not None:
        weight = weight[:, inputs]
    small.weight.copy_(weight)
    small.bias.copy_(bias)


# --- distillation ---------------------------------------------------------------------------------


def distil_decoder(
    full: AutoencoderKL,
    small: AutoencoderKL,
    frames: Frames,
    schedule: Schedule,
    folder: Path,
    *,
    batch: int = 16,
    perceptual: Perceptual | None = None,
) -> AutoencoderKL:
    """Trains `small` to decode as `full` does; returns its averaged weights.

    Args:
        full: encodes the frames, and decodes them into what is to be learned.
        small: trained in place.
        frames: gives training pictures.
        schedule: steps and learning rate.
        folder: keeps the state, so that a stopped run goes on.
        batch: frames a step, of all processes together.
        perceptual: a further term of the loss.
    """

    def loss(step: int, seed: int) -> dict[str, Tensor]:
        with torch.no_grad():
            latents = _latents(full, frames(share(batch), seed))
            latents = _perturbed(latents, seeded(seed))
            target = full.decode(latents).sample
        decoded = small.decode(latents).sample
        error = decoded - target
        terms = {"l1": error.abs().mean(), "l2": error.square().mean()}
        return terms if perceptual is None else {**terms, "perceptual": perceptual(decoded, target)}

    return train("decoder", small, loss, schedule, folder)


def _latents(vae: Any, frames: Tensor) -> Tensor:
    return vae.encode(frames.to(vae.device)).latent_dist.mean


def _perturbed(latents: Tensor, generator: torch.Generator) -> Tensor:
    """With noise of up to LATENT_NOISE times the latents' own deviation."""
    share_of_std = LATENT_NOISE * torch.rand(len(latents), 1, 1, 1, generator=generator)
    noise = share_of_std * torch.randn(latents.shape, generator=generator)
    return latents + noise.to(latents.device) * latents.std()


@torch.no_grad()
def psnr_against(full: Any, small: Any, frames: Frames, count: int = HELD_OUT_FRAMES) -> float:
    """How close `small` decodes to `full` on pictures that were not trained on, in dB.

    10 log10(peak^2 / mean squared error), with the peak of 2 that frames in -1..1 have.
    """
    latents = _latents(full, frames(count, HELD_OUT_SEED))
    pairs = [(full.decode(z).sample, small.decode(z).sample) for z in latents.split(8)]
    error = torch.stack([(a.clamp(-1, 1) - b.clamp(-1, 1)).square().mean() for a, b in pairs])
    return 10 * math.log10(4 / error.mean().item())


def save_decoder(path: Path, small: Any, *, psnr: float, licence: str) -> None:
    """Writes a file that `load_fast_decoder` reads, in fp16."""
    config: Any = small.config
    names = PrunedDecoderConfig.__dataclass_fields__
    shape = PrunedDecoderConfig(**{name: config[name] for name in names})
    metadata = {
        PRUNED_KEY: json.dumps(asdict(shape)),
        "hummingbird.psnr": f"{psnr:.2f}",
        LICENCE_KEY: licence,
    }
    tensors = {key: value.half().cpu().contiguous() for key, value in small.state_dict().items()}
    with atomic_output(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


# --- pictures -------------------------------------------------------------------------------------


def shape_frames(count: int, seed: int) -> Tensor:
    """Single frames of moving shapes, `[count, 3, 64, 64]` in -1..1."""
    scenes = islice(shapes.samples(seed, num_frames=1), count)
    return torch.stack([shapes.render(scene)[:, 0] for scene, _ in scenes]) * 2 - 1


def video_frames(folder: Path) -> Frames:
    """Random crops of random frames of the videos in `folder`.

    Raises:
        InputError: there are none.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise InputError(f"got folder {folder} without videos, expected some: check --videos")

    def frames(count: int, seed: int) -> Tensor:
        rng = random.Random(seed)
        return torch.stack([_crop(rng.choice(files), rng) for _ in range(count)])

    return frames


def _crop(file: Path, rng: random.Random) -> Tensor:
    """A square of a frame, `[3, CROP, CROP]` in -1..1; smaller frames are enlarged."""
    video = read_video(file).frames
    frame = torch.from_numpy(video[rng.randrange(len(video))]).permute(2, 0, 1) / 127.5 - 1
    if (short := min(frame.shape[1:])) < CROP:
        size = [math.ceil(side * CROP / short) for side in frame.shape[1:]]
        frame = nn.functional.interpolate(frame[None], size=size, mode="bilinear")[0]
    top, left = (rng.randint(0, side - CROP) for side in frame.shape[1:])
    return frame[:, top : top + CROP, left : left + CROP]
