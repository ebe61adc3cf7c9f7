"""Decode: a video latent to frames and a VIDEO."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .adapter.io.frames import decode, flat_warning, frame_rate, videos_of
from .common import CATEGORY, fps_input


class Decode(io.ComfyNode):
    """Node that decodes a latent to frames and a VIDEO."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return io.Schema(
            node_id="HummingbirdDecode",
            display_name="Decode",
            category=CATEGORY,
            description="Decodes all frames, a few at a time, and gives them as images and as a "
            "video with its frame rate. Stops with the likely cause if the result would be "
            "black (NaN), and says why if it is one flat colour.",
            inputs=[
                io.Latent.Input("samples", tooltip="From Sample Video or any sampler."),
                io.Vae.Input("vae", tooltip="The VAE of Load Hummingbird."),
                fps_input(
                    0.0,
                    0.0,
                    "0: the rate that Sample Video made the motion for; after another sampler 8, "
                    "whatever LTXVConditioning says.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="All frames; of a batch, one video after the other.",
                ),
                io.Video.Output(
                    display_name="video",
                    is_output_list=True,
                    tooltip="For Save Video; of a batch, a video each.",
                ),
            ],
        )

    @classmethod
    def execute(cls, samples: Any, vae: Any, fps: float) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        images = decode(vae, samples)
        warning = flat_warning(images, samples)
        return io.NodeOutput(
            images,
            videos_of(images, samples, frame_rate(samples, fps)),
            ui={"text": (warning or "",)},  # also if there is none: an earlier one must go
        )
