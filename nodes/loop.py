"""Loop: a MODEL whose videos begin where they end, with any sampler."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .adapter.model.timeline import with_loop
from .adapter.model.unet import hummingbird_unet
from .common import CATEGORY, schema


class LoopVideo(io.ComfyNode):
    """Node that makes the first frame follow the last one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdLoop",
            display_name="Loop Video",
            category=CATEGORY,
            search_aliases=["loop", "seamless loop", "cinemagraph", "circular"],
            description="Makes the first frame follow the last one, without a seam, for KSampler "
            "and all other samplers. The motion has to be one that comes back. Sample Video has a "
            "separate input for this.",
            inputs=[io.Model.Input("model", tooltip="From Load Hummingbird.")],
            outputs=[io.Model.Output(tooltip="The model with loops; the input is unchanged.")],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        hummingbird_unet(model)  # refuses other models
        return io.NodeOutput(with_loop(model))
