"""Plot of the losses of a run of `hummingbird train nano`, stage by stage.

python benchmarks/scripts/training_curves.py runs/nano -o benchmarks/results/nano-training
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.figure import Figure

STAGES = {
    "vae": "vae.losses.jsonl",
    "text": "text.losses.jsonl",
    "teacher": "teacher.losses.jsonl",
    "student": "distil/distil.losses.jsonl",
    "tuning": "tune/tune.losses.jsonl",
}
LEFT_OUT = {"step", "loss", "gradient_norm", "learning_rate", "peak_gib", "seconds", "kind"}
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


def draw(stages: dict[str, dict[str, list[list[float]]]], path: Path) -> None:
    figure = Figure(figsize=(15, 3.2), layout="constrained")
    for axes, (stage, curves) in zip(figure.subplots(1, len(stages)), stages.items(), strict=True):
        for name, points in curves.items():
            axes.plot(*zip(*points, strict=True), label=name)
        axes.set(title=stage, xlabel="step", yscale="linear" if stage == "tuning" else "log")
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .png")
    args = parser.parse_args()
    stages = {stage: read_curves(args.folder / file) for stage, file in STAGES.items()}
    args.output.with_suffix(".json").write_text(json.dumps(stages) + "\n")
    draw(stages, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
