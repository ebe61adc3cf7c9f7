"""Decode: a video latent to frames and a VIDEO."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .adapter.io.frames import decode, flat_warning, frame_rate, videos_of
from .adapter.model.small_decoder import DECODERS
from .common import ADVANCED, CATEGORY, fps_input, schema


class Decode(io.ComfyNode):
    """Node that decodes a latent to frames and a VIDEO."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdDecode",
            display_name="Decode",
            category=CATEGORY,
            search_aliases=["vae decode", "latent to video"],
            description="Decodes all frames, a few at a time, to images and to a video with "
            "its frame rate. Stops with the likely cause if the result would be black (NaN), "
            "and reports the likely cause if it is one flat colour.",
            inputs=[
                io.Latent.Input("samples", tooltip="From Sample Video or any sampler."),
                io.Vae.Input("vae", tooltip="The VAE from Load Hummingbird."),
                fps_input(
                    "Frames per second. 0: the rate set in Sample Video; after any other sampler "
                    "8, regardless of LTXVConditioning.",
                    default=0.0,
                    smallest=0.0,
                ),
                io.Combo.Input(
                    "decoder",
                    options=list(DECODERS),
                    default=DECODERS[0],
                    optional=True,
                    tooltip="full: the VAE's own. middle, tiny: faster and softer, for the "
                    "built-in model.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="All frames; for a batch, one video after the other.",
                ),
                io.Video.Output(
                    display_name="video",
                    is_output_list=True,
                    tooltip="For Save Video; for a batch, one video per element.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, samples: Any, vae: Any, fps: float, decoder: str = DECODERS[0]
    ) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        images = decode(vae, samples, decoder)
        warning = flat_warning(images, samples)
        return io.NodeOutput(
            images,
            videos_of(images, samples, frame_rate(samples, fps)),
            ui={"text": (warning or "",)},  # empty: clears an earlier warning
        )
