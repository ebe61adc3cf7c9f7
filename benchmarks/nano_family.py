"""Proves the recipe at nano size: teacher, student, and what every stage is worth.

    hummingbird train nano
    python benchmarks/nano_family.py -o benchmarks/nano-family

Students that lack one stage are trained beside the run (`FOLDER/without-...`), each with the steps
of the stages that it keeps; what is there already is not trained again. Then every model makes
videos of the same held-out prompts, and the readers of `evaluation` say what they show.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hummingbird_core.devices import best_device
from hummingbird_core.evaluation.bench_report import environment, markdown_table
from hummingbird_core.evaluation.nano import SUBJECTS, evaluate
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.training.distil import distil
from hummingbird_core.training.nano.making import STUDENT_FILE, TEACHER_FILE
from hummingbird_core.training.nano.teacher import zero_residual_branches
from hummingbird_core.training.recipe import read_recipe
from hummingbird_core.training.student_file import write_student
from hummingbird_core.training.tune import tune
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.video import atomic_output

STUDENT = "hummingbird-nano"
TEACHER_STEPS, TEACHER_GUIDANCE = 50, 7.5
STUDENT_STEPS, STUDENT_GUIDANCE = 4, 7.5


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    name: str
    model: Path
    steps: int = STUDENT_STEPS
    guidance: float = STUDENT_GUIDANCE
    frames: int = 16


def cases(folder: Path) -> list[Case]:
    """All rows; trains the students that lack a stage."""
    teacher, student = folder / TEACHER_FILE, folder / STUDENT_FILE
    distilled = folder / "distil" / "student.safetensors"
    return [
        Case("teacher, 50 guided steps", teacher, TEACHER_STEPS, TEACHER_GUIDANCE),
        Case("student, 4 steps", student),
        Case("student, 4 steps, 26 frames", student, frames=26),
        Case("without tuning", distilled),
        Case("without reward", without_reward(folder / "without-reward", teacher, distilled)),
        Case("without distillation", without_distillation(folder / "without-distil", teacher)),
        Case("without the teacher's blocks", without_map(folder / "without-map", teacher)),
    ]


def without_reward(folder: Path, teacher: Path, distilled: Path) -> Path:
    return tuned(folder, teacher, distilled, ["objectives.rewards={}"])


def without_distillation(folder: Path, teacher: Path) -> Path:
    return tuned(folder, teacher, STUDENT, [])


def without_map(folder: Path, teacher: Path) -> Path:
    """A student whose weights start at random, not as those of the teacher's blocks."""
    untrained = folder / "untrained.safetensors"
    if not untrained.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unet = HummingbirdUNet(UNetConfig.from_preset(STUDENT))
        zero_residual_branches(unet)
        write_student(unet, teacher, untrained)
    distilled = folder / "distil" / "student.safetensors"
    if not distilled.exists():
        distil(teacher, untrained, "nano", read_recipe("nano-distil", []), distilled.parent)
    return tuned(folder, teacher, distilled, [])


def tuned(folder: Path, teacher: Path, student: Path | str, changes: list[str]) -> Path:
    file = folder / "tune" / "student.safetensors"
    if not file.exists():
        tune(teacher, student, "nano", read_recipe("nano-tune", changes), file.parent)
    return file


def row(case: Case, prompts: int) -> dict:
    pipe = HummingbirdPipeline.from_pretrained(case.model)
    began = time.perf_counter()
    found = {
        subjects: evaluate(
            pipe,
            subjects,
            prompts,
            num_inference_steps=case.steps,
            guidance_scale=case.guidance,
            num_frames=case.frames,
        )
        for subjects in SUBJECTS
    }
    return {
        "model": case.name,
        "million parameters": sum(p.numel() for p in pipe.unet.parameters()) / 1e6,
        **{
            f"{subjects}: {aspect}": str(accuracy)
            for subjects, accuracies in found.items()
            for aspect, accuracy in accuracies.items()
        },
        "seconds a video": (time.perf_counter() - began) / (prompts * len(SUBJECTS)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/nano"), help="of `train nano`")
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    rows = [row(case, args.prompts) for case in cases(args.folder)]
    record = {
        "command": shlex.join(["python", "benchmarks/nano_family.py", *sys.argv[1:]]),
        "prompts": args.prompts,
        "environment": environment(best_device()),
        "rows": rows,
    }
    table = f"{args.prompts} held-out prompts, 95 % intervals\n\n{markdown_table(rows)}\n"
    for suffix, text in ((".json", json.dumps(record, indent=2) + "\n"), (".md", table)):
        with atomic_output(args.output.with_suffix(suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
