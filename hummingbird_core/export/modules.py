"""The three models of a pipeline as modules whose inputs and outputs an exported file has.

Inputs and outputs are float32 (token ids and timesteps int64), whatever the weights are. Batches
hold one video; T frames, h x w latent pixels, N frames that are decoded together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..cpu.vae_decoder import decode_images
from ..errors import CheckpointError
from ..pipeline import HummingbirdPipeline
from ..sampling.consistency import guidance_scale_embedding
from ..sampling.noise import initial_noise
from ..unet.model import GUIDANCE_DIM
from ..vae.codec import default_chunk_size, vae_scale_factor

PROMPT = "a red circle moves right"  # encoded for the example; any model has some of its words
TIMESTEP, FPS, GUIDANCE = 759, 8.0, 7.5  # of the example


@dataclass(frozen=True)
class VideoShape:
    """Size of the videos that an export is for: pixels, and frames."""

    height: int
    width: int
    num_frames: int


@dataclass(frozen=True)
class Part:
    """A model to export, with an example of its inputs.

    Attributes:
        module: takes the inputs in their order.
        inputs: example inputs by name.
    """

    module: nn.Module
    inputs: dict[str, Tensor]

    def __call__(self) -> Tensor:
        """Return the module's output for the example, float32."""
        with torch.no_grad():
            return self.module(*self.inputs.values())


class ExportedText(nn.Module):
    """Token ids `[1, L]` to embeddings `[1, L, C]`."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings, float32."""
        return self.encoder(ids).float()


class ExportedUNet(nn.Module):
    """The noise in latents `[1, 4, T, h, w]`; a student takes the embedded guidance scale, too."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        fps: Tensor,
        timestep_cond: Tensor | None = None,
    ) -> Tensor:
        """Return the noise, float32, as `sampling.guidance` calls the U-Net."""
        dtype = next(self.unet.parameters()).dtype
        context = encoder_hidden_states.to(dtype)
        cond = None if timestep_cond is None else timestep_cond.to(dtype)
        return self.unet(sample.to(dtype), timestep, context, fps, cond).float()


class ExportedDecoder(nn.Module):
    """Scaled latents `[N, 4, h, w]` to images `[N, 3, 8h, 8w]` in about -1..1."""

    def __init__(self, vae: nn.Module):
        super().__init__()
        self.vae = vae
        self.scale = float(vae.config["scaling_factor"])  # type: ignore[index, arg-type]

    def forward(self, latents: Tensor) -> Tensor:
        """Return the images, float32, as `vae.codec.decode_latents` does."""
        images = (latents / self.scale).to(next(self.vae.parameters()).dtype)
        if hasattr(self.vae.decoder, "up_blocks"):
            return decode_images(self.vae, images).float()
        return self.vae.decode(images).sample.float()  # type: ignore[operator]


def parts_of(pipe: HummingbirdPipeline, shape: VideoShape) -> Mapping[str, Part]:
    """Return the models of a pipeline on the CPU, by the names in `runtime.folder.MODELS`.

    Raises:
        CheckpointError: a model is missing.
    """
    if pipe.vae is None or pipe.text_encoder is None:
        raise CheckpointError(
            "got a checkpoint without text encoder or VAE, expected a whole model: convert the "
            "original file, which holds all three"
        )
    ids = pipe.text_encoder.tokenizer([PROMPT])
    text = Part(ExportedText(pipe.text_encoder), {"ids": ids})
    factor = vae_scale_factor(pipe.vae)
    size = (shape.num_frames, shape.height // factor, shape.width // factor)
    noise = initial_noise((1, pipe.unet.config.in_channels, *size), seed=0)
    chunk = default_chunk_size(shape.height, shape.width, torch.device("cpu"))
    # [1, 4, T, h, w] -> [N, 4, h, w]
    latents = noise[0].transpose(0, 1)[:chunk].contiguous()
    return {
        "text": text,
        "unet": Part(ExportedUNet(pipe.unet), _unet_inputs(pipe, noise, text())),
        "decoder": Part(ExportedDecoder(pipe.vae), {"latents": latents}),
    }


def _unet_inputs(pipe: HummingbirdPipeline, noise: Tensor, context: Tensor) -> dict[str, Tensor]:
    inputs = {
        "sample": noise,
        "timestep": torch.tensor([TIMESTEP]),
        "encoder_hidden_states": context,
        "fps": torch.tensor([FPS]),
    }
    if pipe.unet.config.guidance_embedding:
        inputs["timestep_cond"] = guidance_scale_embedding(torch.tensor([GUIDANCE]), GUIDANCE_DIM)
    return inputs
