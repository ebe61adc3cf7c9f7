"""Load Hummingbird: a checkpoint to MODEL, CLIP and VAE."""

from __future__ import annotations

from comfy_api.latest import io

from .adapter.errors import naming
from .adapter.io.files import checkpoint_names, checkpoint_path
from .adapter.model.checkpoint import WEIGHT_DTYPES, describe_lacks, load_models
from .common import ADVANCED, CATEGORY, ESSENTIALS, schema


class LoadHummingbird(io.ComfyNode):
    """Node that loads a checkpoint as MODEL, CLIP and VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdLoad",
            display_name="Load Hummingbird",
            category=CATEGORY,
            search_aliases=["text to video", "load checkpoint", "video model", "checkpoint loader"],
            essentials_category=ESSENTIALS,
            description="Loads a Hummingbird or VideoCrafter2 checkpoint, as released or "
            "converted, or the small built-in model. ComfyUI's own checkpoint loader "
            "mistakes such a file for Stable Diffusion 2 and loses all motion. No code in a "
            "file is executed.",
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=checkpoint_names(),
                    tooltip="A file in models/checkpoints or models/diffusion_models. "
                    "The built-in nano generates small moving images and shapes at 64x64, "
                    "offline and on any computer; Download Hummingbird downloads the large "
                    "models.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="auto",
                    tooltip="Storage type of the U-Net. auto: chosen for this computer; "
                    "fp8_e4m3fn: half the memory of fp16, slightly less precise; fp32: full "
                    "precision, also for text encoder and VAE.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="For Sample Video or any sampler."),
                io.Clip.Output(tooltip="For Encode Prompt or CLIP Text Encode."),
                io.Vae.Output(tooltip="For Decode or VAE Decode."),
            ],
        )

    @classmethod
    def execute(cls, checkpoint: str, weight_dtype: str) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        path = checkpoint_path(checkpoint)
        with naming("checkpoint"):
            models = load_models(path, weight_dtype)
        return io.NodeOutput(
            models.model, models.clip, models.vae, ui={"text": (describe_lacks(models),)}
        )
