"""Inputs that several nodes share."""

from __future__ import annotations

from comfy_api.latest import io

from ..hummingbird_core.sampling import CONSISTENCY_GRID, MAX_SEED
from .adapter.io.files import dover_names
from .adapter.model.unet import DEFAULT_FPS, DEFAULT_GUIDANCE
from .adapter.sampling.sample import SamplingConfig

CATEGORY = "Hummingbird"
MAX_PIXELS, MAX_FRAMES = 4096, 4096


def size_inputs(default: int, smallest: int, hint: str) -> list[io.Input]:
    """Return the inputs for width and height in pixels."""
    limits = {"default": default, "min": smallest, "max": MAX_PIXELS, "step": 8}
    return [
        io.Int.Input("width", **limits, tooltip=f"Pixels, a multiple of 8. {hint}"),
        io.Int.Input("height", **limits, tooltip=f"Pixels, a multiple of 8. {hint}"),
    ]


def frames_input(hint: str) -> io.Input:
    """Return the input for the number of frames; `hint` continues its tooltip."""
    return io.Int.Input(
        "frames",
        default=16,
        min=1,
        max=MAX_FRAMES,
        tooltip=f"Number of frames. The models were trained on 16 (and 26){hint}",
    )


def steps_input() -> io.Input:
    """Return the input for the number of sampling steps."""
    return io.Int.Input(
        "steps",
        default=4,
        min=1,
        max=CONSISTENCY_GRID,
        tooltip="U-Net calls. 4 is fast, 8 is finer; a teacher needs 25 to 50.",
    )


def strength_input() -> io.Input:
    """Return the input for the share of a given video that is replaced."""
    return io.Float.Input(
        "strength",
        default=1.0,
        min=0.02,
        max=1.0,
        step=0.01,
        tooltip="How much of the given video is replaced: 1 keeps nothing, 0.3 changes details. "
        "The fast models then take fewer steps if need be: at 0.3 at most 15.",
    )


def seed_input(
    tooltip: str = "Another seed, another video; the same one gives the same video everywhere.",
) -> io.Input:
    """Return the input for the seed."""
    return io.Int.Input(
        "seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip
    )


def fps_input(default: float = DEFAULT_FPS, smallest: float = 0.1, hint: str = "") -> io.Input:
    """Return the input for the frame rate."""
    return io.Float.Input(
        "fps",
        default=default,
        min=smallest,
        max=120.0,
        step=0.1,
        tooltip=f"Frames per second. {hint}",
    )


def dover_input() -> io.Input:
    """Return the input for the file with DOVER's weights."""
    return io.Combo.Input(
        "dover",
        options=dover_names(),
        tooltip="DOVER's weights in models/vqa: DOVER.pth or DOVER-Mobile.pth from its authors, "
        "VQAssessment/DOVER on GitHub (for non-commercial use). none: only the measures that need "
        "no weights.",
    )


def sampling_inputs() -> list[io.Input]:
    """Return the inputs for the fields of `SamplingConfig`, and the seed."""
    return [
        *size_inputs(0, 0, "0: the size that the model was trained on."),
        frames_input("; more are made in windows of 16 that overlap."),
        steps_input(),
        io.Float.Input(
            "guidance",
            default=DEFAULT_GUIDANCE,
            min=0.0,
            max=100.0,
            step=0.1,
            tooltip="How closely to follow the prompt. Students were trained on 5 to 15. Takes the "
            "place of what FluxGuidance says.",
        ),
        fps_input(
            hint="The rate that the motion is made for. Takes the place of what LTXVConditioning "
            "says."
        ),
        seed_input(),
    ]


def video_settings(values: dict, strength: float = 1.0) -> SamplingConfig:
    """Return the settings among the arguments of a node."""
    names = ("width", "height", "frames", "steps", "guidance", "fps")
    return SamplingConfig(**{name: values[name] for name in names}, strength=strength)
