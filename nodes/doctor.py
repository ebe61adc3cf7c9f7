"""Doctor: what this computer has, as a text to paste into a bug report."""

from __future__ import annotations

from comfy_api.latest import io

from .adapter.report import doctor_report
from .common import CATEGORY


class Doctor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HummingbirdDoctor",
            display_name="Doctor",
            category=CATEGORY,
            description="Says which versions, device and memory there are, which models would "
            "fit, and what is missing. Paste the report into a bug report.",
            inputs=[],
            outputs=[io.String.Output(display_name="report", tooltip="Plain text.")],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls) -> float:
        return float("nan")  # differs from itself: memory is another one each time

    @classmethod
    def execute(cls) -> io.NodeOutput:
        report = doctor_report()
        return io.NodeOutput(report, ui={"text": (report,)})
