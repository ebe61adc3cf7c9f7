"""Load reward models by name. Nothing is downloaded here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ...hub.local import BUILT_IN_AGREEMENT, from_pretrained_offline
from ..outside import make_outside, no_options
from .agreement import AgreementReward
from .base import Reward
from .clip_image import ClipImageReward
from .hps import clip_from_open_clip
from .shapes import ShapesReward
from .video_text import VideoTextReward

if TYPE_CHECKING:
    from transformers import CLIPModel

KIND = "reward model"
HPS = "xswu/HPSv2"
HPS_FILE = "HPS_v2.1_compressed.pt"
PICKSCORE = "yuvalkirstain/PickScore_v1"
XCLIP = "microsoft/xclip-base-patch32"


def load_reward(
    kind: str, weights: str | Path | None = None, options: Mapping[str, Any] | None = None
) -> Reward:
    """Load a reward model, on the CPU, in eval mode.

    Args:
        kind: one of `REWARDS`, or `MODULE:NAME` of a class or function that makes a `Reward`. It is
            called with `weights` if there are any, and with the options.
        weights: a folder in transformers' layout, a hub id in the hub's local cache, or for "hpsv2"
            also the released file. None means the usual hub id. "shapes" is a formula and has none.
        options: keyword arguments for a reward from outside.

    Raises:
        InputError: there is no such kind, it has no weights, or an option is wrong.
        CheckpointError: the weights are not on this computer, damaged, or of another model.
    """
    if ":" in kind:
        return _load_outside(kind, weights, options or {})
    if kind not in REWARDS:
        raise InputError(
            f"got reward {kind!r}, expected one of {', '.join(REWARDS)}, or MODULE:NAME: choose one"
        )
    no_options(kind, "reward", options or {})
    return REWARDS[kind](None if weights is None else str(weights))


def _load_outside(kind: str, weights: str | Path | None, options: Mapping[str, Any]) -> Reward:
    arguments = [] if weights is None else [weights]
    reward = make_outside(kind, "reward", options, *arguments)
    if not callable(reward) or not callable(getattr(reward, "frames_needed", None)):
        raise InputError(
            f"got {type(reward).__name__} from the reward {kind}, expected an object like "
            f"{Reward.__module__}.Reward: see docs/guides/training.md"
        )
    return reward


def _load_shapes(weights: str | None) -> Reward:
    if weights is not None:
        raise InputError(
            f"got weights {weights!r} for the reward 'shapes', expected none: it is a formula"
        )
    return ShapesReward()


def _load_agreement(weights: str | None) -> Reward:
    from ...agreement.model import load_agreement

    return AgreementReward(load_agreement(weights or BUILT_IN_AGREEMENT))


def _load_hps(weights: str | None) -> Reward:
    from ...weights.tensor_files import read_tensors

    name = weights or HPS
    path = Path(name) if Path(name).is_file() else _released_hps(name)
    model = clip_from_open_clip(read_tensors(path)) if path else _load_clip(name)
    return ClipImageReward(model, "hpsv2")


def _released_hps(name: str) -> Path | None:
    """Return the released file in a folder or the hub's cache, or None if it is missing."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(name).is_dir():
        file = Path(name) / HPS_FILE
        return file if file.is_file() else None
    try:
        cached = try_to_load_from_cache(name, HPS_FILE)
    except HFValidationError:  # a path that does not exist
        return None
    return Path(cached) if isinstance(cached, str) else None


def _load_pickscore(weights: str | None) -> Reward:
    return ClipImageReward(_load_clip(weights or PICKSCORE), "pickscore")


def _load_video(weights: str | None) -> Reward:
    from transformers import AutoModel, AutoTokenizer

    name = weights or XCLIP
    model = from_pretrained_offline(AutoModel, name, KIND, use_safetensors=True)
    return VideoTextReward(model, from_pretrained_offline(AutoTokenizer, name, KIND))


def _load_clip(name: str) -> CLIPModel:
    from transformers import CLIPModel

    return from_pretrained_offline(CLIPModel, name, KIND, use_safetensors=True)


REWARDS: dict[str, Callable[[str | None], Reward]] = {
    "shapes": _load_shapes,
    "agreement": _load_agreement,
    "hpsv2": _load_hps,
    "pickscore": _load_pickscore,
    "video": _load_video,
}
"""Factories of the reward models a recipe can name."""
