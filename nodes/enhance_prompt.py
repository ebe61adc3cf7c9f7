"""LLM Prompt Enhance: a short prompt to a fuller one."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..hummingbird_core.prompts.backends.address import DEFAULT_URL
from .adapter.io.prompts import ENHANCER_SOURCES, describe_enhanced, enhance
from .common import ADVANCED, CATEGORY, schema, seed_input


class EnhancePrompt(io.ComfyNode):
    """Node that enhances a prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdEnhancePrompt",
            display_name="LLM Prompt Enhance",
            category=CATEGORY,
            search_aliases=["prompt expansion", "rewrite prompt", "llm"],
            description="Adds motion, style, camera and light to a prompt, keeps its "
            "subject, and fits the result into the text window of the video model.",
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The CLIP from Load Hummingbird; it counts the tokens of the result.",
                ),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="a red circle",
                    tooltip="Description of the video. A language model accepts any "
                    "language that it knows.",
                ),
                io.Combo.Input(
                    "source",
                    options=list(ENHANCER_SOURCES),
                    tooltip="builtin: a fixed list of phrases, instant; local: a Hugging "
                    "Face chat model; server: Ollama, llama.cpp, vLLM, LM Studio ...; "
                    "comfyui: the language model connected to input llm.",
                ),
                io.String.Input(
                    "language_model",
                    default="",
                    tooltip="local: folder or id of a downloaded model; server: name of "
                    "the model on the server, empty if there is only one.",
                ),
                io.String.Input(
                    "url",
                    default=DEFAULT_URL,
                    tooltip="server: address of an OpenAI-compatible server.",
                    **ADVANCED,
                ),
                seed_input("A different seed gives a different wording."),
                io.Clip.Input(
                    "llm",
                    optional=True,
                    tooltip="comfyui: a language model from Load CLIP; needs a release "
                    "of ComfyUI that has Generate Text.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="prompt", tooltip="For Encode Prompt."),
                io.String.Output(
                    display_name="report",
                    tooltip="Token count, text that was cut off, and remarks.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        prompt: str,
        source: str,
        language_model: str,
        url: str,
        seed: int,
        llm: Any = None,
    ) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        result = enhance(clip, prompt, source, language_model, url, seed, llm)
        report = describe_enhanced(result)
        shown = {"prompt": result.text, "tokens": result.tokens, "room": result.room}
        return io.NodeOutput(
            result.text, report, ui={"text": (report,), "hummingbird_prompt": (shown,)}
        )
