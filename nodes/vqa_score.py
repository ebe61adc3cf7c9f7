"""VQA Score: quality measures and defects of a video."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .adapter.io.scoring import (
    contact_sheet,
    describe_score,
    number,
    rating,
    sheet_row,
    shown_score,
)
from .common import CATEGORY, dover_input, fps_input, schema


class VQAScore(io.ComfyNode):
    """Node that scores the frames of a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdVQAScore",
            display_name="VQA Score",
            category=CATEGORY,
            search_aliases=["video quality", "dover", "rate video"],
            description="Measures flicker, motion, blur and defects of a video and, with "
            "DOVER's weights, its technical and aesthetic quality. The frames pass through "
            "unchanged; the node can also end a graph.",
            inputs=[
                io.Image.Input("images", tooltip="The frames of one video."),
                fps_input("Frames per second of this video."),
                dover_input(),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The same frames."),
                io.Float.Output(
                    display_name="overall",
                    tooltip="DOVER's overall score, 0 to 100; NaN without its weights.",
                ),
                io.Float.Output(
                    display_name="technical",
                    tooltip="DOVER's technical score; NaN without its weights.",
                ),
                io.Float.Output(
                    display_name="aesthetic",
                    tooltip="DOVER's aesthetic score; NaN without its weights.",
                ),
                io.Float.Output(display_name="flicker", tooltip="Computed without weights."),
                io.Float.Output(
                    display_name="motion_smoothness", tooltip="Computed without weights."
                ),
                io.String.Output(display_name="report", tooltip="All measures and defects."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images: Any, fps: float, dover: str) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        score = rating(dover)(images, fps)
        names = ("overall", "technical", "aesthetic", "flicker", "motion_smoothness")
        report = describe_score(score)
        preview = {
            **contact_sheet([sheet_row(images)]),
            "hummingbird_scores": (shown_score(score),),
        }
        return io.NodeOutput(
            images,
            *(number(score, name) for name in names),
            report,
            ui={**preview, "text": (report,)},
        )
