"""A tiny pipeline with random weights to export: all that the built-in student has, in little."""

from __future__ import annotations

from dataclasses import replace

import torch

from hummingbird_core.export.modules import VideoShape
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.nano.text import build_text_encoder
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

SHAPE = VideoShape(16, 32, 3)
STUDENT = UNetConfig(
    model_channels=8,
    channel_mult=(1, 1),
    num_res_blocks=1,
    attention_levels=(1,),
    head_channels=4,
    context_dim=64,
    middle_block=False,
    guidance_embedding=True,
    norm_groups=4,
    v_prediction=True,
    frame_phase=True,
    frame_seconds=True,
    height=SHAPE.height,
    width=SHAPE.width,
    frames=(3,),
)
# Half of the nodes, of which an export takes its time.
ONE_LEVEL = replace(STUDENT, channel_mult=(1,), attention_levels=(0,))


def random_pipeline(config: UNetConfig = STUDENT) -> HummingbirdPipeline:
    """Return a pipeline whose text encoder is the same for every config: drawn first."""
    torch.manual_seed(0)
    encoder = build_text_encoder().eval()
    config = replace(config, context_dim=encoder.config.width)
    return HummingbirdPipeline(HummingbirdUNet(config).eval(), build_vae().eval(), encoder)
