"""Encode Prompt: text to CONDITIONING, with a word on what the model did not see."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .adapter.text import describe, encode, tokenize
from .common import CATEGORY


class EncodePrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HummingbirdEncodePrompt",
            display_name="Encode Prompt",
            category=CATEGORY,
            description="Encodes a prompt exactly as `hummingbird generate` does: taken "
            "literally, cut after 75 tokens. Says how many tokens it has and what was cut off. "
            "For ComfyUI's (emphasis:1.2) use CLIP Text Encode instead.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP of Load Hummingbird."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="a red circle moves right",
                    tooltip="What to show, in plain words. Empty: for the negative input of a "
                    "teacher.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(tooltip="For Sample Video or any sampler."),
                io.Int.Output(display_name="tokens", tooltip="Tokens of the whole prompt."),
                io.String.Output(
                    display_name="report", tooltip="Token count, and what had no effect."
                ),
            ],
        )

    @classmethod
    def execute(cls, clip: Any, prompt: str) -> io.NodeOutput:
        tokenized = tokenize(clip, prompt)
        report = describe(clip, tokenized)
        return io.NodeOutput(
            encode(clip, tokenized), tokenized.count, report, ui={"text": (report,)}
        )
