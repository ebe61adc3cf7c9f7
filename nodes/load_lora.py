"""Load Hummingbird LoRA: any format, with a report on what does not fit."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .adapter.io.files import lora_names, lora_path
from .adapter.model.lora import apply_lora
from .common import CATEGORY, schema


class LoadHummingbirdLoRA(io.ComfyNode):
    """Node that applies a LoRA to a MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdLoadLoRA",
            display_name="Load Hummingbird LoRA",
            category=CATEGORY,
            search_aliases=["lora loader", "reward lora"],
            description="Applies a LoRA in any format, including the list without layer "
            "names in which reward LoRAs are released (unet_lora.pt), and reports the layers "
            "that did not fit. Converted LoRAs also work with ComfyUI's own LoRA loader.",
            inputs=[
                io.Model.Input("model", tooltip="From Load Hummingbird."),
                io.Combo.Input(
                    "lora",
                    options=lora_names(),
                    tooltip="A file in models/loras: PEFT, kohya, ComfyUI, or a list "
                    "without layer names.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    tooltip="1: as trained; 0: no effect; below 0: the opposite effect.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The model with the LoRA; the input is unchanged."),
                io.String.Output(
                    display_name="report", tooltip="The layers that fit and those that did not."
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Any, lora: str, strength: float) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        patched, report = apply_lora(model, lora_path(lora), strength)
        return io.NodeOutput(patched, report, ui={"text": (report,)})
