"""The nodes: thin, one file each, over `adapter`.

ComfyUI has a top-level module `nodes`, too: import this package relatively only.
"""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .best_of_n import BestOfN
from .custom_sampling import HummingbirdSampler, HummingbirdSigmas
from .decode import Decode
from .doctor import Doctor
from .download import DownloadHummingbird
from .empty_video import EmptyHummingbirdVideo
from .encode_prompt import EncodePrompt
from .enhance_prompt import EnhancePrompt
from .load import LoadHummingbird
from .load_lora import LoadHummingbirdLoRA
from .loop import LoopVideo
from .prompt_list import PromptList
from .sample import SampleVideo
from .vqa_score import VQAScore

__all__ = ["HummingbirdExtension"]


class HummingbirdExtension(ComfyExtension):
    """Extension that lists the nodes of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return the node classes in the order of the menu."""
        return [
            LoadHummingbird,
            EncodePrompt,
            EnhancePrompt,
            SampleVideo,
            Decode,
            VQAScore,
            BestOfN,
            LoadHummingbirdLoRA,
            LoopVideo,
            EmptyHummingbirdVideo,
            HummingbirdSigmas,
            HummingbirdSampler,
            PromptList,
            DownloadHummingbird,
            Doctor,
        ]
