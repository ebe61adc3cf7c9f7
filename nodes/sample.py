"""Sample Video: noise, or a given video, to a new video latent."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .adapter.sampling.sample import sample_video
from .common import (
    CATEGORY,
    ESSENTIALS,
    loop_input,
    sampling_inputs,
    schema,
    start_image_input,
    strength_input,
    video_settings,
)


class SampleVideo(io.ComfyNode):
    """Node that samples a video latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdSample",
            display_name="Sample Video",
            category=CATEGORY,
            search_aliases=[
                "text to video",
                "t2v",
                "video to video",
                "image to video",
                "ksampler",
                "generate video",
            ],
            essentials_category=ESSENTIALS,
            description="Generates the same video as `hummingbird generate` with the same "
            "settings. Noise is drawn on the CPU, so a seed gives the same video on any "
            "computer.",
            inputs=[
                io.Model.Input("model", tooltip="From Load Hummingbird."),
                io.Conditioning.Input("positive", tooltip="The prompt, from Encode Prompt."),
                *sampling_inputs(),
                strength_input(),
                loop_input(),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="A video to start from, encoded with VAE Encode (its width, "
                    "height and frames replace the inputs), or an Empty Hummingbird Video "
                    "for a batch.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="For teachers only (VideoCrafter2, nano-teacher): an empty "
                    "prompt, or a description of what to avoid. The fast models need none.",
                ),
                start_image_input(),
            ],
            outputs=[io.Latent.Output(tooltip="For Decode or VAE Decode.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        seed: int,
        strength: float,
        latent: Any = None,
        negative: Any = None,
        start_image: Any = None,
        **settings: Any,
    ) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        return io.NodeOutput(
            sample_video(
                model,
                positive,
                video_settings(settings, strength),
                seed,
                negative=negative,
                latent=latent,
                start_image=start_image,
            )
        )
