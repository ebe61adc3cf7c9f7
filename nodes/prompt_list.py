"""Prompt List: one run per line of text."""

from __future__ import annotations

from comfy_api.latest import io

from ..hummingbird_core.errors import InputError
from ..hummingbird_core.inputs.text import numbered_lines
from .common import CATEGORY, schema


class PromptList(io.ComfyNode):
    """Node that splits text into a list of prompts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdPromptList",
            display_name="Prompt List",
            category=CATEGORY,
            search_aliases=["batch prompts", "many prompts", "lines"],
            description="Splits text into one prompt per line. Connected nodes run once per "
            "prompt, so one graph generates many videos.",
            inputs=[
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="a red circle moves right\na blue square moves up",
                    tooltip="One prompt per line; empty lines are ignored.",
                )
            ],
            outputs=[
                io.String.Output(
                    display_name="prompt",
                    is_output_list=True,
                    tooltip="For the prompt input of Encode Prompt or LLM Prompt Enhance.",
                )
            ],
        )

    @classmethod
    def execute(cls, prompts: str) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        lines = [line for _, line in numbered_lines(prompts)]
        if not lines:
            raise InputError("input prompts: got no text, expected one prompt per line")
        return io.NodeOutput(lines)
