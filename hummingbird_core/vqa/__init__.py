"""Video quality assessment: DOVER's learned scores, and measures without weights.

score_video(frames)                                  # weight-free measures only
score_video(frames, dover=load_dover("DOVER.pth"))   # adds technical, aesthetic, overall
measure(frames, fps)                                 # the weight-free measures as a dict
find_defects(score)                                  # names of the defects

The public names are those of `__all__`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..hub.download import DOVER_LICENSE as WEIGHTS_LICENSE

if TYPE_CHECKING:
    from .defects import Thresholds, find_defects
    from .dover.model import DOVER, DOVERScore, load_dover
    from .measures import measure
    from .score import Score, score_file, score_video

_MODULES = {
    **dict.fromkeys(("Thresholds", "find_defects"), ".defects"),
    **dict.fromkeys(("DOVER", "DOVERScore", "load_dover"), ".dover.model"),
    "measure": ".measures",
    **dict.fromkeys(("Score", "score_file", "score_video"), ".score"),
}

__all__ = [
    "DOVER",
    "WEIGHTS_LICENSE",
    "DOVERScore",
    "Score",
    "Thresholds",
    "find_defects",
    "load_dover",
    "measure",
    "score_file",
    "score_video",
]


def __getattr__(name: str) -> Any:
    """Find public names on first use (PEP 562), so that thresholds and scores need no torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)
