"""`hummingbird train nano`: makes the built-in model from nothing.

VAE -> text encoder -> teacher -> pruned student -> consistency student. Every stage keeps
its state in the run folder: stopped at any time, the same command goes on.
`torchrun --nproc_per_node 2 -m hummingbird_core.cli train nano` uses two processes.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors.torch import save
from torch import distributed

from ..checkpoint_layout import CONFIG_KEY
from ..checkpoints import LICENCE_KEY, PRESET_KEY, TOKENIZER_KEY
from ..files import check_destination, complete_or_absent
from ..text_encoder import TextEncoder, text_encoder_to_openclip
from ..unet import HummingbirdUNet
from ..vae import diffusers_to_ldm
from .autoencoder import train_vae
from .consistency import distil_consistency, distil_output
from .diffusion import train_teacher
from .latents import SCALING_FACTOR, preview_colours
from .loop import Schedule, rank
from .text import train_text_encoder

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

    from ..tokenizer import WordTokenizer

SCHEDULES = {
    "vae": Schedule(steps=1200, learning_rate=2e-3, ema_decay=0.98),
    "text": Schedule(steps=400, learning_rate=2e-3, ema_decay=0.9),
    "teacher": Schedule(steps=2600, learning_rate=2e-3),
    "student": Schedule(steps=250, learning_rate=1e-3),
    "consistency": Schedule(steps=600, learning_rate=5e-4),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `hummingbird train nano`."""
    parser.add_argument("--folder", type=Path, default=Path("runs/nano"), help="keeps all states")
    parser.add_argument("-o", "--output", type=Path, help="for the weights (default: --folder)")
    for stage, schedule in SCHEDULES.items():
        parser.add_argument(f"--{stage}-steps", type=int, default=schedule.steps)


def run(args: argparse.Namespace) -> None:
    """Runs all stages that are not done, and writes `nano-teacher` and `hummingbird-nano`."""
    schedules = {
        stage: replace(schedule, steps=getattr(args, f"{stage}_steps"))
        for stage, schedule in SCHEDULES.items()
    }
    output = args.output or args.folder
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        distributed.init_process_group("gloo")
    torch.manual_seed(0)  # of the weights that each stage starts from, alike in all processes
    vae = train_vae(schedules["vae"], args.folder)
    text_encoder = train_text_encoder(schedules["text"], args.folder)
    teacher = train_teacher(text_encoder, schedules["teacher"], args.folder)
    student = distil_output(teacher, schedules["student"], args.folder)
    student = distil_consistency(teacher, student, schedules["consistency"], args.folder)
    if rank() > 0:
        return
    save_model(output / "nano-teacher.safetensors", teacher.unet, vae, teacher.text_encoder)
    save_model(output / "hummingbird-nano.safetensors", student, vae, teacher.text_encoder)


def save_model(
    path: Path, unet: HummingbirdUNet, vae: AutoencoderKL, text_encoder: TextEncoder
) -> None:
    """Writes one fp16 safetensors in the layout of the released checkpoints."""
    tokenizer = cast("WordTokenizer", text_encoder.tokenizer)
    parts = {
        "model.diffusion_model.": unet.state_dict(),
        "first_stage_model.": diffusers_to_ldm(vae.state_dict()),
        "cond_stage_model.model.": text_encoder_to_openclip(text_encoder),
    }
    config = {
        "unet": unet.config.to_dict(),
        "vae": {"scaling_factor": SCALING_FACTOR, "preview_colours": preview_colours()},
        "text": asdict(text_encoder.config),
    }
    metadata = {
        PRESET_KEY: unet.config.preset or "custom",
        CONFIG_KEY: json.dumps(config),
        TOKENIZER_KEY: tokenizer.to_json(),
        LICENCE_KEY: "Apache-2.0",
    }
    tensors = {
        prefix + key: value.half().contiguous()
        for prefix, weights in parts.items()
        for key, value in weights.items()
    }
    check_destination(path, overwrite=True)
    with complete_or_absent(path) as file:
        file.write(save(tensors, metadata=metadata))
