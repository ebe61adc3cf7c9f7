"""Doctor: a report on this computer, to paste into a bug report."""

from __future__ import annotations

from comfy_api.latest import io

from .adapter.io.report import doctor_report
from .common import CATEGORY, schema


class Doctor(io.ComfyNode):
    """Node that reports versions, devices and problems."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdDoctor",
            display_name="Doctor",
            category=CATEGORY,
            search_aliases=["system info", "bug report", "diagnose"],
            description="Reports versions, device and memory, which models fit, and what is "
            "missing. Paste the report into a bug report.",
            inputs=[],
            outputs=[io.String.Output(display_name="report", tooltip="Plain text.")],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls) -> float:
        """Return NaN, which differs from itself, so that every run measures memory anew."""
        return float("nan")

    @classmethod
    def execute(cls) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        report = doctor_report()
        return io.NodeOutput(report, ui={"text": (report,)})
