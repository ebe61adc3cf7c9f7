"""Plot of the losses of a run of `hummingbird train nano`, stage by stage.

python benchmarks/scripts/training_curves.py runs/nano -o benchmarks/results/nano-training

Stages without a file of losses are left out. A dashed line, where the run measured it, is the
distance between the seeds of its validation videos, against the teacher's (right axis).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hummingbird_core.training.distillation.seed_diversity import TEACHER_STEP
from hummingbird_core.training.loop.progress import read_losses

STAGES = {
    "vae": "vae.losses.jsonl",
    "text": "text.losses.jsonl",
    "teacher": "teacher.losses.jsonl",
    "student": "distil/distil.losses.jsonl",
}
LEFT_OUT = {"step", "loss", "gradient_norm", "learning_rate", "peak_gib", "seconds", "kind"}
DIVERSITY = "distance between seeds"
POINTS = 60  # points per curve; single steps are noisy


def read_curves(file: Path) -> dict[str, list[list[float]]]:
    """Return points (step, mean over the following steps) by name of the loss term."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    width = max(1, len(lines) // POINTS)
    parts = [lines[start : start + width] for start in range(0, len(lines), width)]
    names = {name: None for line in lines for name in line if name not in LEFT_OUT}
    return {name: [point for part in parts for point in _point(name, part)] for name in names}


def _point(name: str, lines: list[dict[str, Any]]) -> Iterator[list[float]]:
    """Yield the mean of a term, unless no step of these uses it; NaN is text in the file."""
    if values := [line[name] for line in lines if isinstance(line.get(name), int | float)]:
        yield [lines[0]["step"], mean(values)]


def read_diversity(file: Path) -> list[list[float]]:
    """Return points (step, distance between seeds against the teacher's); none without a file."""
    distances = {line["step"]: mean(line["seed_distance"]) for line in read_losses(file)}
    teacher = distances.pop(TEACHER_STEP, None)
    return [[step, value / teacher] for step, value in distances.items()] if teacher else []


def draw(stages: dict[str, dict[str, list[list[float]]]], path: Path) -> None:
    figure = Figure(figsize=(5 * len(stages), 3.2), layout="constrained")
    all_axes = figure.subplots(1, len(stages), squeeze=False)[0]
    for axes, (stage, curves) in zip(all_axes, stages.items(), strict=True):
        _draw_stage(axes, stage, dict(curves))
    figure.savefig(path, dpi=110)


def _draw_stage(axes: Axes, stage: str, curves: dict[str, list[list[float]]]) -> None:
    diversity = curves.pop(DIVERSITY, [])
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), label=name)
    axes.set(title=stage, xlabel="step", yscale="log")
    axes.legend(fontsize="small", loc="lower left")
    if diversity:
        right = axes.twinx()
        right.plot(*zip(*diversity, strict=True), "k--", label=DIVERSITY)
        right.set_ylim(bottom=0)
        right.legend(fontsize="small", loc="lower right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .png")
    args = parser.parse_args()
    stages = {}
    for stage, name in STAGES.items():
        file = args.folder / name
        if file.is_file():
            stages[stage] = read_curves(file)
            stages[stage][DIVERSITY] = read_diversity(file.with_name("diversity.jsonl"))
    args.output.with_suffix(".json").write_text(json.dumps(stages) + "\n")
    draw(stages, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
