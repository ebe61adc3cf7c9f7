"""The proof of curation: does the curated tenth of a spoilt pile make a better model?

    python benchmarks/scripts/curation_proof.py FOLDER --model nano-teacher
        --agreement nano-agreement -o benchmarks/results/curation-proof

1. A pile of clips of the built-in world, half of them spoilt in the ways of real data.
2. `hummingbird curate` sees videos and captions only.
3. Students with random weights learn by denoising, each on one arm alone, without teacher or
   reward, VAE and text encoder frozen: (a) all clips, (b) a random tenth, (c) the curated best
   tenth, (d) c with captions from frames, (e) the clean tenth, the ceiling. `without-COLUMN` is c
   chosen without one measure.
4. The readers of the world, which are not learned, judge videos of held-out prompts.

The model of agreement has seen clean clips of the world; c and d owe it their choice, d its
captions. Every student is a file in FOLDER/students: after a stop the same command goes on, and
`--arms` and `--seeds` add others.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import curation_proof_caption
from curation_proof_pile import PileClip, make_pile
from curation_proof_students import judge, train_student
from recording import write_results

from hummingbird_core.bench.report import environment
from hummingbird_core.curation.descriptions import DescribeConfig
from hummingbird_core.curation.embeddings import EmbeddingConfig
from hummingbird_core.curation.measure import MeasureConfig, clip_path
from hummingbird_core.curation.pipeline import curate, vectors_for
from hummingbird_core.curation.selection import DEFAULT_RULES, Limit, Rule, SelectionConfig, select
from hummingbird_core.curation.source_video import SourceVideo
from hummingbird_core.curation.sources import list_sources
from hummingbird_core.curation.table import read_manifest
from hummingbird_core.engines.local import Engine, LocalEngine
from hummingbird_core.errors import InputError
from hummingbird_core.files import atomic_write
from hummingbird_core.hub.local import agreement_file
from hummingbird_core.nano.evaluate import Accuracy
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.unet import UNetConfig

WITHOUT = "without-"
ARMS = ("all", "random", "curated", "recaptioned", "clean")  # a to e
SHARE = 10  # one clip in ten is chosen
AGREEMENT = Rule(minimum=Limit(0.3, quantile=True))
Row = dict[str, Any]


@dataclass(frozen=True)
class Proof:
    """Settings of the experiment, and its folder.

    Attributes:
        folder: of everything it writes.
        size: number of clips in the pile.
        agreement: file of the model of agreement, "" for none.
        steps: of each student's training.
        prompts: number of held-out prompts.
    """

    folder: Path
    size: int
    agreement: str
    steps: int
    prompts: int

    @property
    def record(self) -> Row:
        """Return all that determines the result of a student, besides its arm and seed."""
        return {name: value for name, value in asdict(self).items() if name != "folder"}


@dataclass(frozen=True)
class Pile:
    """The pile, the manifest of its curation, and the embeddings of its clips."""

    clips: list[PileClip]
    folder: Path
    rows: Callable[[SelectionConfig], list[Row]]


def prepare(proof: Proof, engine: Engine) -> Pile:
    """Make the pile and curate it; what is done already is kept."""
    folder = proof.folder
    clips = make_pile(folder, proof.size)
    os.environ[curation_proof_caption.MODEL_VARIABLE] = proof.agreement
    curate(
        list_sources(folder / "videos"),
        folder / "curated",
        engine,
        MeasureConfig(),
        SelectionConfig(),
        clips_per_shard=None,
        embeddings=EmbeddingConfig(proof.agreement) if proof.agreement else None,
        descriptions=DescribeConfig("curation_proof_caption:caption") if proof.agreement else None,
    )
    table = read_manifest(folder / "curated" / "manifest.parquet")

    def rows(settings: SelectionConfig) -> list[Row]:
        return select(table, settings, vectors_for(settings, table, folder / "curated")).to_pylist()

    return Pile(clips, folder, rows)


def selection(proof: Proof, without: str = "") -> SelectionConfig:
    """Return the rules that choose the best tenth, without those of one measure."""
    rules = dict(DEFAULT_RULES)
    if proof.agreement:
        rules["agreement"] = AGREEMENT
    settings = SelectionConfig(
        rules={name: rule for name, rule in rules.items() if name != without},
        best_by="agreement" if proof.agreement and without != "agreement" else None,
        balance=proof.size // SHARE if proof.agreement and without != "balance" else None,
    )
    return replace(settings, duplicate_distance=None) if without == "duplicate" else settings


def arm_clips(pile: Pile, proof: Proof, arm: str, seed: int) -> list[SourceVideo]:
    """Return the clips and captions that an arm trains on.

    Raises:
        InputError: there is no such arm, or it has no clip.
    """
    tenth, rng = proof.size // SHARE, random.Random(f"{arm} {seed}")
    if arm in ("all", "random", "clean"):
        found = [
            SourceVideo(
                clip.name,
                str((pile.folder / "videos" / clip.name).resolve()),
                clip.true_caption if arm == "clean" else clip.caption,
            )
            for clip in pile.clips
            if arm != "clean" or not clip.kind
        ]
        found = found if arm == "all" else rng.sample(found, min(tenth, len(found)))
    elif arm in ("curated", "recaptioned") or arm.startswith(WITHOUT):
        found = _curated(pile, proof, arm, rng)
    else:
        raise InputError(f"got arm {arm!r}, expected one of {', '.join(ARMS)}, {WITHOUT}COLUMN")
    if not found:
        raise InputError(f"got no clip for the arm {arm}: curation kept none")
    return found


def _curated(pile: Pile, proof: Proof, arm: str, rng: random.Random) -> list[SourceVideo]:
    without = arm.removeprefix(WITHOUT) if arm.startswith(WITHOUT) else ""
    kept = [row for row in pile.rows(selection(proof, without)) if row["kept"]]
    tenth = proof.size // SHARE
    if len(kept) > tenth:
        kept = rng.sample(kept, tenth)
    column = "seen_long" if arm == "recaptioned" else "caption"
    folder = pile.folder / "curated" / "clips"
    return [
        SourceVideo(row["source"], str(clip_path(folder, row["id"]).resolve()), row[column] or "")
        for row in kept
    ]


def run_student(
    pile: Pile,
    proof: Proof,
    arm: str,
    seed: int,
    model: HummingbirdPipeline,
    config: UNetConfig,
) -> Row:
    """Train and judge a student, unless its file is there.

    Raises:
        InputError: its file has other settings.
    """
    folder = proof.folder / "students"
    file = folder / f"{arm}-{seed}.json"
    if file.is_file():
        result = json.loads(file.read_text(encoding="utf-8"))
        if result["settings"] != proof.record:
            raise InputError(f"{file} has other settings: choose another folder, or delete it")
        return result
    clips = arm_clips(pile, proof, arm, seed)
    kinds = {clip.name: clip.kind for clip in pile.clips}
    student = train_student(clips, model, folder / f"{arm}-{seed}", config, proof.steps, seed)
    checks = judge(student, proof.prompts)
    result = {
        "arm": arm,
        "seed": seed,
        "settings": proof.record,
        "clips": len(clips),
        "kinds": dict(Counter(kinds[clip.name] or "clean" for clip in clips).most_common()),
        "right": {kind: [sum(values), len(values)] for kind, values in checks.items()},
    }
    with atomic_write(file) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def accuracy(results: Sequence[Row], arm: str, kind: str = "joint") -> Accuracy:
    """Return the accuracy of an arm over its seeds."""
    counts = [result["right"][kind] for result in results if result["arm"] == arm]
    return Accuracy(sum(right for right, _ in counts), sum(total for _, total in counts))


def difference(first: Accuracy, second: Accuracy) -> tuple[float, float, float]:
    """Return a difference of accuracies with its 95 % interval (Newcombe, 1998, method 10)."""
    (low_1, high_1), (low_2, high_2) = first.interval, second.interval
    value = first.value - second.value
    below = math.hypot(first.value - low_1, high_2 - second.value)
    above = math.hypot(high_1 - first.value, second.value - low_2)
    return value, value - below, value + above


def table_rows(results: Sequence[Row]) -> list[Row]:
    """Return the rows of the report, one for each arm."""
    rows: list[Row] = []
    for arm in dict.fromkeys(result["arm"] for result in results):
        own = [result for result in results if result["arm"] == arm]
        clips = sum(result["clips"] for result in own)
        clean = sum(result["kinds"].get("clean", 0) for result in own)
        each = [accuracy([result], arm).value for result in own]
        row = {"arm": arm, "clips": own[0]["clips"], "spoilt": f"{1 - clean / clips:.1%}"}
        row["right (95 % interval)"] = str(accuracy(results, arm))
        row["by seed"] = ", ".join(f"{value:.1%}" for value in each)
        for other in ("random", "clean"):
            has_other = other != arm and any(result["arm"] == other for result in results)
            if not has_other:
                row[f"against {other}"] = "-"
                continue
            value, low, high = difference(accuracy(results, arm), accuracy(results, other))
            row[f"against {other}"] = f"{value:+.1%} ({low:+.1%} to {high:+.1%})"
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of pile, curation and students")
    parser.add_argument("--model", default="nano-teacher", help="gives VAE, text encoder and sizes")
    parser.add_argument("--agreement", default="", help="nano-agreement, or a file like it")
    parser.add_argument("--arms", nargs="+", default=ARMS, help=f"or {WITHOUT}COLUMN")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=1500, help="20 minutes on two cores, at most")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    agreement = str(agreement_file(args.agreement).resolve()) if args.agreement else ""
    proof = Proof(args.folder, args.clips, agreement, args.steps, args.prompts)
    pile = prepare(proof, LocalEngine(args.workers))
    model = HummingbirdPipeline.from_pretrained(args.model, device="cpu")
    results: list[Row] = []
    for seed in args.seeds:
        for arm in args.arms:
            results.append(run_student(pile, proof, arm, seed, model, model.unet.config))
            rows = table_rows(results)
            command = shlex.join(["python", *sys.argv])
            record = {"command": command, "environment": environment("cpu"), "students": results}
            write_results(args.output, record, rows)


if __name__ == "__main__":
    main()
