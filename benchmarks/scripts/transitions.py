r"""Precision and recall of the dissolves and fades that `hummingbird curate` finds.

    export PYTHONPATH=tests
    python benchmarks/scripts/transitions.py --each 2 --crf 23 -o benchmarks/results/transitions

Made by tests/support/transitions.py: dissolves and fades of 0.2 to 2 s, and pans, flashes, lights,
focus pulls, shaking cameras and cuts, which are none. All go through an H.264 file. A transition
counts as found if a clip marked as one covers at least half of it, and an other clip as a false
alarm if any part of it is marked.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from recording import write_results
from support.planted_defects import write_clip
from support.transitions import FPS, OTHERS, SECONDS, TRANSITIONS, make

from hummingbird_core.curation.stages.clipping import split_into_clips
from hummingbird_core.video.reader import open_video


def marked_frames(path: Path) -> np.ndarray:
    """Return for each frame whether it is part of a transition, bool [T]."""
    with open_video(path) as video:
        clips = split_into_clips(video.frames, FPS, 10_000)
        return np.concatenate([np.full(len(clip.frames), clip.is_transition) for clip in clips])


def measure(kind: str, seconds: float, seed: int, crf: int, folder: Path) -> tuple[bool, bool]:
    """Return whether the transition of a made clip is found, and whether anything else is."""
    frames, place = make(kind, seed, seconds)
    marked = marked_frames(write_clip(folder / "clip.mp4", frames, crf=crf))
    if place is None:
        return False, bool(marked.any())
    inside = marked[place[0] : place[1] + 1]
    return bool(inside.mean() >= 0.5), bool(marked[: place[0] - 12].any())


def rows(each: int, crf: int) -> Iterator[dict]:
    """Yield a row for each kind of clip."""
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate((*TRANSITIONS, *OTHERS)):
            jobs = [
                (s, 1000 * number + 10 * i + j) for i, s in enumerate(SECONDS) for j in range(each)
            ]
            found = [measure(kind, s, seed, crf, Path(folder)) for s, seed in jobs]
            row = {"kind": kind, "clips": len(found), "found": sum(f for f, _ in found)}
            yield {**row, "false alarms": sum(wrong for _, wrong in found)}
            print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=2, help="clips of each kind and length")
    parser.add_argument("--crf", type=int, default=23, help="quality of x264")
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    kinds = list(rows(args.each, args.crf))
    found = sum(row["found"] for row in kinds)
    wrong = sum(row["false alarms"] for row in kinds)
    planted = sum(row["clips"] for row in kinds if row["kind"] in TRANSITIONS)
    result = {
        "crf": args.crf,
        "seconds": SECONDS,
        "recall": found / planted,
        "precision": found / max(1, found + wrong),
        "kinds": kinds,
    }
    write_results(args.output, result, kinds)


if __name__ == "__main__":
    main()
