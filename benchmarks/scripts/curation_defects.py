r"""Precision and recall of the defects that `hummingbird curate` finds.

    export PYTHONPATH=tests
    python benchmarks/scripts/curation_defects.py FOLDER --clips 300 \
        -o benchmarks/results/curation-defects

Eight of ten clips have one planted defect (2 s of 320x240 at 24 fps, made by
tests/support/planted_defects.py), which the manifest must name. Clips and curated output stay in
FOLDER; a second call continues an interrupted one.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pyarrow.parquet
from recording import write_results
from support.planted_defects import KINDS, scene, with_defect, write_clip

from hummingbird_core.curation.measure import MeasureConfig
from hummingbird_core.curation.pipeline import curate
from hummingbird_core.curation.selection import SelectionConfig
from hummingbird_core.curation.sources import list_sources
from hummingbird_core.engines.local import LocalEngine

# Entries of the manifest that name the defect: the first rule that dropped the clip, which the
# report counts as its reason.
SIGNS = {
    "blur": {"blur"},
    "flicker": {"flicker"},
    "freeze": {"longest_freeze"},
    "black": {"black_fraction"},
    "cut": {"cuts"},  # and a boundary "cut": a found cut splits the clip
    "jerk": {"motion_smoothness", "camera_shake"},
    "low bitrate": {"blockiness"},
    "low bitrate H.264": {"blur"},
}
# H.264 at a low bitrate is blurred: the sign is right for both kinds.
ALSO = {"blur": {"low bitrate H.264"}, "low bitrate H.264": {"blur"}}


def make_planted(folder: Path, count: int) -> dict[str, str]:
    """Name of each video -> the kind of its fault, "" for the fifth that has none."""
    planted = {}
    for index in range(count):
        place = index % 10
        kind = KINDS[place] if place < len(KINDS) else ""
        path = folder / f"{index:04d}.mp4"
        if not path.exists():
            write_clip(path, with_defect(kind, index) if kind else scene(index), kind=kind)
        planted[path.name] = kind
    return planted


def found_kinds(manifest: Path) -> dict[str, set[str]]:
    """Name of each video -> the kinds of fault that the manifest gives it."""
    found: dict[str, set[str]] = {}
    for row in pyarrow.parquet.read_table(manifest).to_pylist():
        rule = row["dropped_by"].partition(" ")[0]
        kinds = {kind for kind, signs in SIGNS.items() if rule in signs}
        found.setdefault(row["source"], set()).update(kinds)
        if row["boundary"] == "cut":
            found[row["source"]].add("cut")
    return found


def compare(kind: str, planted: dict[str, str], found: dict[str, set[str]]) -> dict:
    """Compare the clips with one kind of defect with those found to have it."""
    have = {name for name, planted_kind in planted.items() if planted_kind == kind}
    said = {name for name, kinds in found.items() if kind in kinds}
    said -= {name for name in said if planted[name] in ALSO.get(kind, ())}
    return {
        "fault": kind,
        "sign": " or ".join(sorted(SIGNS[kind])),
        "planted": len(have),
        "found": len(have & said),
        "precision": len(have & said) / len(said) if said else None,
        "recall": len(have & said) / len(have),
        "missed": sorted(have - said),
        "false": {name: planted[name] for name in sorted(said - have)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the clips and of the results")
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    clips, results = args.folder / "in", args.folder / "out"
    planted = make_planted(clips, args.clips)
    engine, measures = LocalEngine(args.workers), MeasureConfig()
    curate(list_sources(clips), results, engine, measures, SelectionConfig())
    found = found_kinds(results / "manifest.parquet")
    rows = [compare(kind, planted, found) for kind in KINDS]
    clean = [name for name, kind in planted.items() if not kind]
    wrong = {name: sorted(found[name]) for name in clean if found[name]}
    shown = ("fault", "sign", "planted", "found", "precision", "recall")
    write_results(
        args.output,
        {"clips": args.clips, "clean": len(clean), "clean with a fault": wrong, "kinds": rows},
        [{name: row[name] for name in shown} for row in rows],
    )


if __name__ == "__main__":
    main()
