"""Download Hummingbird: a released checkpoint, on request and under its license."""

from __future__ import annotations

from comfy_api.latest import io

from ..hummingbird_core.hub.download import CATALOG
from .adapter.io.downloads import describe_all, fetch
from .common import CATEGORY, schema


class DownloadHummingbird(io.ComfyNode):
    """Node that downloads and converts a released checkpoint."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdDownload",
            display_name="Download Hummingbird",
            category=CATEGORY,
            search_aliases=["get model", "install model", "huggingface"],
            description="Downloads a checkpoint from its authors into models/checkpoints, resumes "
            "an interrupted download, verifies the file, and converts it to safetensors.\n"
            f"{describe_all()}",
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=list(CATALOG),
                    tooltip="The released checkpoint to download.",
                ),
                io.Boolean.Input(
                    "accept_licence",
                    default=False,
                    tooltip="Confirm that you have read the authors' licence, which this "
                    "node names, and agree to it. Otherwise nothing is downloaded.",
                ),
                io.Boolean.Input(
                    "convert",
                    default=True,
                    tooltip="Also write a safetensors file in fp16, which is half the "
                    "size and loads faster.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="file",
                    tooltip="The file name: choose it in Load Hummingbird after "
                    "refreshing the page.",
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, checkpoint: str, accept_licence: bool, convert: bool) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        path = fetch(checkpoint, accept_licence, convert)
        return io.NodeOutput(path.name, ui={"text": (f"{path.name} is ready",)})
