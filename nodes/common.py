"""Inputs that several nodes share."""

from __future__ import annotations

import inspect
from typing import Any

from comfy_api.latest import io

from ..hummingbird_core.sampling import CONSISTENCY_GRID, MAX_SEED
from ..hummingbird_core.settings import Loop
from .adapter.io.files import dover_names
from .adapter.model.unet import DEFAULT_FPS, DEFAULT_GUIDANCE
from .adapter.sampling.sample import SamplingConfig

CATEGORY = "Hummingbird"
LOOPS: dict[str, Loop] = {"off": False, "on": True, "swing": "swing"}
MAX_PIXELS, MAX_FRAMES = 4096, 4096
OPTIONAL_FIELDS = ("search_aliases", "essentials_category")  # of a Schema, in newer releases only
ESSENTIALS = "Video Generation"  # where the front end lists the nodes that one starts with
# Keyword of an input that most users leave alone; newer releases fold these away.
ADVANCED = {"advanced": True} if "advanced" in inspect.signature(io.Int.Input).parameters else {}


def schema(**fields: Any) -> io.Schema:
    """Return the description of a node, without the optional fields that this release lacks."""
    known = inspect.signature(io.Schema).parameters
    return io.Schema(**{k: v for k, v in fields.items() if k in known or k not in OPTIONAL_FIELDS})


def size_inputs(default: int, smallest: int, hint: str) -> list[io.Input]:
    """Return the inputs for width and height in pixels; `hint` ends their tooltips."""
    limits = {"default": default, "min": smallest, "max": MAX_PIXELS, "step": 8}
    tooltip = f"Pixels, a multiple of 8. {hint}"
    names = {side: f"{side} (0: auto)" if smallest == 0 else None for side in ("width", "height")}
    return [
        io.Int.Input(side, **limits, display_name=name, tooltip=tooltip)
        for side, name in names.items()
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
        tooltip="Number of sampling steps. 4 is fast, 8 gives finer detail; a teacher "
        "needs 25 to 50.",
    )


def strength_input() -> io.Input:
    """Return the input for the share of the input video that is replaced."""
    return io.Float.Input(
        "strength",
        default=1.0,
        min=0.02,
        max=1.0,
        step=0.01,
        tooltip="Share of the input video that is replaced: 1 keeps nothing, 0.3 changes "
        "details. A low strength limits the number of steps of the fast models: at 0.3 to at "
        "most 15.",
    )


def loop_input() -> io.Input:
    """Return the input for loops, the last one: workflows of before have no value for it."""
    return io.Combo.Input(
        "loop",
        options=list(LOOPS),
        default="off",
        optional=True,
        tooltip="on: the first frame follows the last one, for motions that come back. swing: half "
        "of the frames, played there and back, for all other motions.",
    )


def start_image_input() -> io.Input:
    """Return the input for first frames that are kept, the last one: links have its number."""
    return io.Latent.Input(
        "start_image",
        optional=True,
        tooltip="First frames that are kept: an image, or the last frames of a video, from VAE "
        "Encode. Its width and height replace the inputs. The models were not trained to continue "
        "it: describe it in the prompt.",
    )


def seed_input(
    tooltip: str = "A different seed gives a different video; the same seed gives the same "
    "video on any computer.",
) -> io.Input:
    """Return the input for the seed."""
    return io.Int.Input(
        "seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip
    )


def fps_input(tooltip: str, default: float = DEFAULT_FPS, smallest: float = 0.1) -> io.Input:
    """Return the input for the frame rate."""
    return io.Float.Input(
        "fps",
        default=default,
        min=smallest,
        max=120.0,
        step=0.1,
        tooltip=tooltip,
    )


def dover_input() -> io.Input:
    """Return the input for the file with DOVER's weights."""
    return io.Combo.Input(
        "dover",
        options=dover_names(),
        tooltip="File with DOVER's weights in models/vqa: DOVER.pth or DOVER-Mobile.pth, "
        "published by its authors at VQAssessment/DOVER on GitHub (non-commercial use only). "
        "none: compute only the measures that need no weights.",
        **ADVANCED,
    )


def sampling_inputs() -> list[io.Input]:
    """Return the inputs for the fields of `SamplingConfig`, and the seed."""
    return [
        *size_inputs(0, 0, "0: the training size of the model."),
        frames_input("; longer videos are sampled in overlapping windows of 16."),
        steps_input(),
        io.Float.Input(
            "guidance",
            default=DEFAULT_GUIDANCE,
            min=0.0,
            max=100.0,
            step=0.1,
            tooltip="Guidance scale: how closely to follow the prompt. Students were "
            "trained on 5 to 15. Overrides FluxGuidance.",
        ),
        fps_input(
            "Frames per second that the motion is generated for. Overrides LTXVConditioning."
        ),
        seed_input(),
    ]


def video_settings(values: dict, strength: float = 1.0) -> SamplingConfig:
    """Return the settings among the arguments of a node."""
    names = ("width", "height", "frames", "steps", "guidance", "fps")
    loop = LOOPS[values.get("loop", "off")]
    return SamplingConfig(**{name: values[name] for name in names}, strength=strength, loop=loop)
