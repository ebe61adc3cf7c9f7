"""Video quality assessment: DOVER's learned scores, and measures without weights.

score_video(frames)                                  # weight-free measures only
score_video(frames, dover=load_dover("DOVER.pth"))   # adds technical, aesthetic, overall
measure(frames, fps)                                 # the weight-free measures as a dict
find_defects(score)                                  # names of the defects

The public names are those of `__all__`.
"""

from ..hub.download import DOVER_LICENSE as WEIGHTS_LICENSE
from .defects import Thresholds, find_defects
from .dover.model import DOVER, DOVERScore, load_dover
from .measures import measure
from .score import Score, score_file, score_video

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
