"""DOVER (arXiv 2211.04894): technical and aesthetic quality of a video, and DOVER-Mobile.

Two networks look at two views of the same video (see `views`): fragments at full resolution show
how it was recorded and encoded, a resized version shows what is in it.
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
from .convnext3d import ConvNeXt3D, ConvNeXtConfig
from .swin3d import Swin3D, SwinConfig
from .views import DEFAULT_SEED, dover_views

# How the authors bring raw scores to one scale, (score - mean) / deviation, and weigh them.
TECHNICAL_SCALE = (0.1107, 0.07355)
AESTHETIC_SCALE = (-0.08285, 0.03774)
TECHNICAL_WEIGHT = 0.6104
AESTHETIC_WEIGHT = 0.3896
_SWIN_KEY = "technical_backbone.patch_embed.proj.weight"  # DOVER has it, DOVER-Mobile has not


class DOVERScore(NamedTuple):
    """Scores of one video, 0..100, higher is better."""

    technical: float
    aesthetic: float
    overall: float


def fuse(technical: float, aesthetic: float) -> DOVERScore:
    """Raw scores to 0..100, each `100 sigmoid(z)`; the overall z is a weighted sum."""
    technical = (technical - TECHNICAL_SCALE[0]) / TECHNICAL_SCALE[1]
    aesthetic = (aesthetic - AESTHETIC_SCALE[0]) / AESTHETIC_SCALE[1]
    overall = TECHNICAL_WEIGHT * technical + AESTHETIC_WEIGHT * aesthetic
    return DOVERScore(*(_percent(z) for z in (technical, aesthetic, overall)))


def _percent(z: float) -> float:
    """`100 sigmoid(z)`, for z of any size."""
    return 100 / (1 + exp(-z)) if z >= 0 else 100 * exp(z) / (1 + exp(z))


@dataclass(frozen=True)
class DOVERConfig:
    """The two networks, and the width of the hidden layer of their heads."""

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
    """Scores views of a video. State-dict keys are those of the released checkpoints."""

    def __init__(self, config: DOVERConfig):
        super().__init__()
        self.technical_backbone = _backbone(config.technical)
        self.aesthetic_backbone = _backbone(config.aesthetic)
        self.technical_head = ScoreHead(config.features, config.hidden)
        self.aesthetic_head = ScoreHead(config.features, config.hidden)

    @classmethod
    def from_preset(cls, name: str) -> DOVER:
        """ "dover" or "dover-mobile", with random weights, in eval mode; nothing is downloaded.

        Raises:
            InputError: there is no such preset.
        """
        if name not in DOVER_PRESETS:
            raise InputError(
                f"got {name!r}, expected one of {', '.join(DOVER_PRESETS)}: choose one"
            )
        return cls(DOVER_PRESETS[name]).eval()

    def forward(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raw scores.

        Args:
            views: "technical" and "aesthetic", or one of them: normalized pixels
                `[B, 3, T, H, W]`.

        Returns:
            for each view `[B]`: higher is better, on a scale of its own; see `fuse`.
        """
        maps = self.score_maps(views)
        return {name: score.flatten(1).mean(1) for name, score in maps.items()}

    def score_maps(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """For each view the scores of its places, `[B, 1, T/2, H/32, W/32]`."""
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
        """Scores a whole video; see `dover_views` for the arguments.

        Raises:
            InputError: there are fewer frames than `num_frames`.
        """
        device = next(self.parameters()).device
        views = dover_views(frames, num_frames, seed)
        # Clip by clip: three at once would take three times the memory.
        raw = {
            name: torch.cat([self({name: clip[None].to(device)})[name] for clip in view])
            for name, view in views.items()
        }
        return fuse(float(raw["technical"].mean()), float(raw["aesthetic"].mean()))


def _backbone(config: SwinConfig | ConvNeXtConfig) -> nn.Module:
    return Swin3D(config) if isinstance(config, SwinConfig) else ConvNeXt3D(config)


class ScoreHead(nn.Module):
    """Features `[B, C, T, H, W]` to scores `[B, 1, T, H, W]`, each place by itself."""

    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.fc_hid = nn.Conv3d(features, hidden, 1)
        self.fc_last = nn.Conv3d(hidden, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc_last(F.gelu(self.fc_hid(x)))


def load_dover(path: str | Path, *, device: torch.device | str = "cpu") -> DOVER:
    """DOVER or DOVER-Mobile from a file of weights that the user got from `download.DOVER_PAGE`.

    Which of the two it is, is read from the file. See `download.DOVER_LICENCE`.

    Args:
        path: the released `.pth`, or safetensors with the same keys. Nothing in it is executed.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of these models.
    """
    stored = open_tensors(path).tensors
    weights = {key: tensor.read().to(device) for key, tensor in stored.items()}
    with torch.device("meta"):  # no random weights are made only to be thrown away
        model = DOVER.from_preset("dover" if _SWIN_KEY in weights else "dover-mobile")
    validate_state_dict("DOVER", model.state_dict(), weights)
    model.load_state_dict(weights, strict=True, assign=True)
    return model.float().eval()
