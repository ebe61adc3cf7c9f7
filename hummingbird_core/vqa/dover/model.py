"""DOVER (arXiv 2211.04894): technical and aesthetic quality of a video, and DOVER-Mobile.

Two networks see two views of the same video (see `views`): fragments at full resolution show how it
was recorded and encoded, a resized version shows its content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import InputError
from ...weights.state_dict import validate_state_dict
from ...weights.tensor_files import open_tensors
from . import DEFAULT_SEED
from .convnext3d import ConvNeXt3D, ConvNeXtConfig
from .swin3d import Swin3D, SwinConfig
from .views import dover_views

# The authors' (mean, deviation) to standardize raw scores, z = (score - mean) / deviation, and the
# weights of their sum.
TECHNICAL_SCALE = (0.1107, 0.07355)
AESTHETIC_SCALE = (-0.08285, 0.03774)
TECHNICAL_WEIGHT = 0.6104
AESTHETIC_WEIGHT = 0.3896
_SWIN_KEY = "technical_backbone.patch_embed.proj.weight"  # in DOVER, absent in DOVER-Mobile


class DOVERScore(NamedTuple):
    """Scores of one video, 0..100, higher is better."""

    technical: float
    aesthetic: float
    overall: float


def fuse(technical: float, aesthetic: float) -> DOVERScore:
    """Map raw scores to 0..100, each `100 sigmoid(z)`; the overall z is a weighted sum."""
    technical = (technical - TECHNICAL_SCALE[0]) / TECHNICAL_SCALE[1]
    aesthetic = (aesthetic - AESTHETIC_SCALE[0]) / AESTHETIC_SCALE[1]
    overall = TECHNICAL_WEIGHT * technical + AESTHETIC_WEIGHT * aesthetic
    return DOVERScore(*(_percent(z) for z in (technical, aesthetic, overall)))


def _percent(z: float) -> float:
    """Return `100 sigmoid(z)` without overflow for any z."""
    return 100 / (1 + exp(-z)) if z >= 0 else 100 * exp(z) / (1 + exp(z))


@dataclass(frozen=True)
class DOVERConfig:
    """Sizes of the two backbones and of their heads.

    Attributes:
        features: channels of the backbones' output.
        hidden: channels of the heads' hidden layer.
    """

    technical: SwinConfig | ConvNeXtConfig
    aesthetic: ConvNeXtConfig
    features: int
    hidden: int


_MOBILE = ConvNeXtConfig(
    depths=(2, 2, 6, 2), widths=(48, 96, 192, 384), is_v2=True, num_classes=1000
)
DOVER_PRESETS = {
    "dover": DOVERConfig(SwinConfig(), ConvNeXtConfig(), features=768, hidden=64),
    "dover-mobile": DOVERConfig(_MOBILE, _MOBILE, features=384, hidden=32),
}


class DOVER(nn.Module):
    """A network that scores views of a video; its state dict has the released checkpoints' keys."""

    def __init__(self, config: DOVERConfig):
        super().__init__()
        self.technical_backbone = _backbone(config.technical)
        self.aesthetic_backbone = _backbone(config.aesthetic)
        self.technical_head = ScoreHead(config.features, config.hidden)
        self.aesthetic_head = ScoreHead(config.features, config.hidden)

    @classmethod
    def from_preset(cls, name: str) -> DOVER:
        """Create a model with random weights in eval mode; nothing is downloaded.

        Args:
            name: "dover" or "dover-mobile".

        Raises:
            InputError: there is no such preset.
        """
        if name not in DOVER_PRESETS:
            raise InputError(
                f"got {name!r}, expected one of {', '.join(DOVER_PRESETS)}: choose one"
            )
        return cls(DOVER_PRESETS[name]).eval()

    def forward(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the raw scores of each view.

        Args:
            views: "technical", "aesthetic" or both: normalized pixels `[B, 3, T, H, W]`.

        Returns:
            for each view `[B]`: higher is better; each view has a different scale, see `fuse`.
        """
        maps = self.score_maps(views)
        return {name: score.flatten(1).mean(1) for name, score in maps.items()}

    def score_maps(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the score map of each view, `[B, 1, T/2, H/32, W/32]`."""
        unknown = views.keys() - {"technical", "aesthetic"}
        if unknown or not views:
            raise InputError(f"got views {sorted(views)}, expected 'technical' and 'aesthetic'")
        return {
            name: getattr(self, f"{name}_head")(getattr(self, f"{name}_backbone")(x))
            for name, x in views.items()
        }

    @torch.inference_mode()
    def score(
        self, frames: Iterable[np.ndarray], num_frames: int, seed: int | None = DEFAULT_SEED
    ) -> DOVERScore:
        """Score a whole video.

        Args:
            frames: uint8 `[H, W, 3]` each, in order.
            num_frames: number of frames.
            seed: seed of the fragments' positions, see `dover_views`.

        Raises:
            InputError: there are fewer frames than `num_frames`.
        """
        device = next(self.parameters()).device
        views = dover_views(frames, num_frames, seed)
        # Clip by clip: a batch of three would take three times the memory.
        raw = {
            name: torch.cat([self({name: clip[None].to(device)})[name] for clip in view])
            for name, view in views.items()
        }
        return fuse(float(raw["technical"].mean()), float(raw["aesthetic"].mean()))


def _backbone(config: SwinConfig | ConvNeXtConfig) -> nn.Module:
    return Swin3D(config) if isinstance(config, SwinConfig) else ConvNeXt3D(config)


class ScoreHead(nn.Module):
    """A pointwise MLP from features `[B, C, T, H, W]` to scores `[B, 1, T, H, W]`."""

    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.fc_hid = nn.Conv3d(features, hidden, 1)
        self.fc_last = nn.Conv3d(hidden, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of features `[B, C, T, H, W]`."""
        return self.fc_last(F.gelu(self.fc_hid(x)))


def load_dover(path: str | Path, *, device: torch.device | str = "cpu") -> DOVER:
    """Load DOVER or DOVER-Mobile; the keys in the file tell which of the two.

    Users download the weights from `download.DOVER_PAGE`, under `download.DOVER_LICENSE`.

    Args:
        path: the released `.pth`, or safetensors with the same keys. Nothing in it is executed.
        device: where the model goes.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of these models.
    """
    stored = open_tensors(path).tensors
    weights = {key: tensor.read().to(device) for key, tensor in stored.items()}
    with torch.device("meta"):  # skips initializing weights that are replaced
        model = DOVER.from_preset("dover" if _SWIN_KEY in weights else "dover-mobile")
    validate_state_dict("DOVER", model.state_dict(), weights)
    model.load_state_dict(weights, strict=True, assign=True)
    return model.float().eval()
