"""Encode Prompt: text to CONDITIONING, with a report on text without effect."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .adapter.model.prompt import encode_prompt
from .common import CATEGORY, schema


class EncodePrompt(io.ComfyNode):
    """Node that encodes a prompt as the command line does."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdEncodePrompt",
            display_name="Encode Prompt",
            category=CATEGORY,
            search_aliases=[
                *("text to video", "clip text encode", "prompt", "conditioning"),
                *("prompt travel", "prompt schedule"),
            ],
            description="Encodes a prompt exactly as `hummingbird generate` does: literally, "
            "cut after 75 tokens. Reports the number of tokens and the text that was cut "
            "off. For ComfyUI's syntax (emphasis:1.2), use CLIP Text Encode instead.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP from Load Hummingbird."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="a red circle moves right",
                    tooltip="Description of the video, in plain words. For prompts over time: "
                    "0: a fox runs; 24: a fox sleeps (24: is a frame, 2.5s: a second). Empty: for "
                    "the negative input of a teacher.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(tooltip="For Sample Video or any sampler."),
                io.Int.Output(
                    display_name="tokens",
                    tooltip="Number of tokens in the whole prompt; over time, in its longest text.",
                ),
                io.String.Output(
                    display_name="report", tooltip="Token count, and the text that had no effect."
                ),
            ],
        )

    @classmethod
    def execute(cls, clip: Any, prompt: str) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        conditioning, count, report = encode_prompt(clip, prompt)
        return io.NodeOutput(conditioning, count, report, ui={"text": (report,)})
