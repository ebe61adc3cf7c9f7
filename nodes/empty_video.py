"""Empty Hummingbird Video: an empty latent of a given size."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .adapter.io.latents import empty_video, resting_video
from .common import CATEGORY, frames_input, schema, size_inputs, start_image_input


class EmptyHummingbirdVideo(io.ComfyNode):
    """Node that returns an empty video latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdEmptyVideo",
            display_name="Empty Hummingbird Video",
            category=CATEGORY,
            search_aliases=["empty latent video", "text to video"],
            description="Creates an empty latent with a frame axis, for KSampler and other "
            "samplers. Empty Latent Image would give clips of one frame.",
            inputs=[
                *size_inputs(64, 8, "64x64 for the built-in model, 512x320 for the large ones."),
                frames_input(
                    ". For longer videos, Sample Video uses windows "
                    "automatically; with KSampler, add Context Windows (dim 2) to the model."
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Number of videos; in Sample Video, the next ones use seed + "
                    "1, seed + 2, ...",
                ),
                start_image_input(),
            ],
            outputs=[io.Latent.Output(tooltip="For KSampler or Sample Video.")],
        )

    @classmethod
    def execute(
        cls, width: int, height: int, frames: int, batch_size: int, start_image: Any = None
    ) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        if start_image is None:
            return io.NodeOutput(empty_video(width, height, frames, batch_size))
        return io.NodeOutput(resting_video(start_image, frames, batch_size))
