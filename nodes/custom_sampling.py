"""Hummingbird Sigmas and Hummingbird Sampler: consistency sampling for SamplerCustom."""

from __future__ import annotations

from comfy_api.latest import io

from .adapter.sampling.sample import consistency_sampler, sigmas_from
from .common import CATEGORY, schema, steps_input, strength_input


class HummingbirdSigmas(io.ComfyNode):
    """Node that returns the noise levels of consistency sampling."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdSigmas",
            display_name="Hummingbird Sigmas",
            category=CATEGORY,
            search_aliases=["sigmas", "scheduler", "noise levels"],
            description="Returns the noise levels that the fast models were trained on (4 "
            "steps: timesteps 999, 759, 519, 279). No scheduler of ComfyUI gives exactly "
            "these.",
            inputs=[steps_input(), strength_input()],
            outputs=[io.Sigmas.Output(tooltip="For SamplerCustom.")],
        )

    @classmethod
    def execute(cls, steps: int, strength: float) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        return io.NodeOutput(sigmas_from(steps, strength))


class HummingbirdSampler(io.ComfyNode):
    """Node that returns the consistency sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdSampler",
            display_name="Hummingbird Sampler",
            category=CATEGORY,
            search_aliases=["lcm sampler", "consistency sampler"],
            description="Consistency sampling with step noise drawn on the CPU. With "
            "Hummingbird Sigmas and cfg 1, it gives the same video as Sample Video.",
            inputs=[],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustom.")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        return io.NodeOutput(consistency_sampler())
