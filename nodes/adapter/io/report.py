"""The report of `hummingbird doctor` with ComfyUI's version, device, memory and files."""

from __future__ import annotations

import comfy.model_management
import comfyui_version

from ....hummingbird_core.doctor import diagnose, for_people
from ....hummingbird_core.reporting import report_lines, size_text
from .files import CHECKPOINT_FOLDERS, checkpoint_files, lora_names

# Packages that the nodes import. ComfyUI has all of them but ftfy; diffusers and imageio-ffmpeg are
# for the command line, and installing diffusers may replace the host's huggingface_hub.
REQUIRED = (
    *("torch", "numpy", "einops", "safetensors", "transformers", "huggingface_hub", "pillow"),
    *("tqdm", "ftfy"),
)


def doctor_report() -> str:
    """Return the report as plain text, without paths and file names."""
    management = comfy.model_management
    device = management.get_torch_device()
    comfyui = {
        "version": comfyui_version.__version__,
        "device": management.get_torch_device_name(device),
        "memory": size_text(management.get_total_memory(device)),
        "free": size_text(management.get_free_memory(device)),
        "mode": management.vram_state.name,
        f"files in {' and '.join(CHECKPOINT_FOLDERS)}": len(checkpoint_files()),
        "files in loras": len(lora_names()),
    }
    return "\n".join(report_lines({"comfyui": comfyui, **for_people(diagnose(REQUIRED))}))
