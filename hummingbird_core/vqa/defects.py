"""Defects of a video: measures compared with thresholds that the user can change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .score import Score


@dataclass(frozen=True)
class Thresholds:
    """Limits beyond which a measure counts as a defect; `measure` describes the measures.

    The defaults were set on synthetic videos: clean ones of many kinds stay within them, videos
    with one planted defect exceed them. Real footage may need others.
    """

    nan_fraction: float = 0.0
    """nan: more than this."""
    black_fraction: float = 0.02
    """black: more than this."""
    flat_fraction: float = 0.02
    """flat: more than this."""
    underexposed: float = 0.1
    """underexposed: brightness + contrast below this, and not black."""
    overexposed: float = 0.25
    """overexposed: more of the pixels than this clipped at white."""
    blur: float = 0.5
    """blurred: more than this. H.264 at a very low bit rate counts too: it loses its detail."""
    blockiness: float = 0.9
    """blocky: more than this. Real films in ordinary XviD (quantizers 2 to 6) stay below; at 31,
    its coarsest, nearly all exceed it."""
    noise: float = 0.55
    """noise: more than this."""
    bars: float = 0.03
    """bars: more than this."""
    title_fraction: float = 0.25
    """title: more than this."""
    freeze_seconds: float = 0.4
    """frozen: a longer freeze, or all frames the same."""
    repeated_fraction: float = 0.48
    """repeated: more than this. Films converted from 24 to 30 frames a second have 0.2."""
    static_fraction: float = 0.995
    """static: more than this."""
    flicker: float = 0.006
    """flicker: more than this."""
    motion_smoothness: float = 0.7
    """jerky: less than this."""
    cuts: float = 0.0
    """cut: more than this."""


def find_defects(
    score: Score | Mapping[str, float], thresholds: Thresholds | None = None
) -> list[str]:
    """Return the names of a video's defects, [] if it has none.

    The names are nan, black, flat, underexposed, overexposed, blurred, blocky, noise, bars, title,
    frozen, repeated, static, flicker, jerky and cut. A measure that is absent counts as no defect.

    The output key "faults" of `hummingbird score` and of the nodes, and the front end's texts
    `fault_NAME`, are file formats and keep the older word.
    """
    limits = thresholds or Thresholds()
    known = score.to_dict() if isinstance(score, Score) else score

    def above(name: str, limit: float) -> bool:
        return name in known and known[name] > limit

    is_black = above("black_fraction", limits.black_fraction)
    brightest = known.get("brightness", 1.0) + known.get("contrast", 0.0)
    is_all_frozen = known.get("frozen_fraction") == 1
    found = {
        "nan": above("nan_fraction", limits.nan_fraction),
        "black": is_black,
        "flat": above("flat_fraction", limits.flat_fraction),
        "underexposed": brightest < limits.underexposed and not is_black,
        "overexposed": above("bright_clipped", limits.overexposed),
        "blurred": above("blur", limits.blur),
        "blocky": above("blockiness", limits.blockiness),
        "noise": above("noise", limits.noise),
        "bars": above("bars", limits.bars),
        "title": above("title_fraction", limits.title_fraction),
        "frozen": above("longest_freeze", limits.freeze_seconds) or is_all_frozen,
        "repeated": above("repeated_fraction", limits.repeated_fraction),
        "static": above("static_fraction", limits.static_fraction),
        "flicker": above("flicker", limits.flicker),
        "jerky": known.get("motion_smoothness", 1.0) < limits.motion_smoothness,
        "cut": above("cuts", limits.cuts),
    }
    return [name for name, is_found in found.items() if is_found]
