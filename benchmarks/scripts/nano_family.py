"""Proves the recipe at nano size: teacher, student, and what every stage is worth.

    hummingbird train nano
    python benchmarks/scripts/nano_family.py -o benchmarks/results/nano-family

Students that lack one stage are trained next to the run (`FOLDER/ablations`), and one that lacks
none to compare them with, all with as many steps. Then every model makes videos of the same
held-out prompts, and the readers of `nano` say what they show: how much is right, and how much
varies with the seed, which is lost stage by stage. The teacher samples as on the paths that its
students learn from, with several guidance scales. Of a tuned student, `reward` and `judge` are the
means over its validation videos before and after: what tuning climbs, and a judge that it does not
see. After a stop the same command goes on: nothing is trained or measured twice.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from path_teacher import PathTeacher

from hummingbird_core.bench.report import environment, markdown_table
from hummingbird_core.devices import best_device
from hummingbird_core.engines.journal import Journal, read_journal
from hummingbird_core.files import atomic_write, sha256_of_file
from hummingbird_core.nano.diversity import VARIED, measure_diversity
from hummingbird_core.nano.evaluate import evaluate_nano
from hummingbird_core.nano.world.stream import HELD_OUT
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.training.distillation.distil import distil
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.distillation.tune import tune
from hummingbird_core.training.loop.student_file import write_student
from hummingbird_core.training.nano.build import TEACHER_FILE
from hummingbird_core.training.nano.teacher import zero_residual_branches
from hummingbird_core.training.rewards.shapes import SCORED_CAPTIONS
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.weights.state_dict import count_parameters

STUDENT = "hummingbird-nano"
TEACHER_GUIDANCES = (1, 2.5, 7.5)
STUDENT_STEPS, STUDENT_GUIDANCE = 4, 7.5
STUDENT_NAME = "student.safetensors"  # of `distil` and `tune`
REWARD = f"{{kind: shapes, captions: '{SCORED_CAPTIONS}', max_timestep: 519, chunk: 16}}"
WITH_REWARD = (f"objectives.rewards.shapes={REWARD}",)
AT_ONCE = ("objectives.output_kd.teacher_steps=1",)  # the teacher's prediction, not its path
LORA = ("lora.rank=16", "lora.alpha=16")
# Stage 2 as the paper has it: consistency distillation, of noisy clips.
CONSISTENCY = ("noise.samples=data", "objectives.consistency={}", "objectives.output_kd=null")
SLOWLY = ("training.learning_rate=3e-5",)  # a tenth of the recipe's


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    name: str
    model: Path
    steps: int = STUDENT_STEPS
    guidance: float = STUDENT_GUIDANCE
    frames: int = 16
    pipeline: type[HummingbirdPipeline] = HummingbirdPipeline


@dataclass(frozen=True)
class Ablations:
    """Trains students that lack a stage, with fewer steps than the released ones.

    Attributes:
        folder: what is there already is not trained again.
        teacher: a checkpoint.
        distil_steps, tuning_steps: of each student's stages.
    """

    folder: Path
    teacher: Path
    distil_steps: int
    tuning_steps: int

    def distilled(self, name: str, student: Path | str = STUDENT) -> Path:
        """After stage 1."""
        file = self.folder / name / "distil" / STUDENT_NAME
        if not file.exists():
            recipe = read_recipe("nano-distil", [f"training.steps={self.distil_steps}"])
            distil(self.teacher, student, "nano", recipe, file.parent)
        return file

    def tuned(self, name: str, student: Path | str, changes: tuple[str, ...] = ()) -> Path:
        """After stage 2, of which `changes` are another form."""
        file = self.folder / name / "tune" / STUDENT_NAME
        if not file.exists():
            steps = f"training.steps={self.tuning_steps}"
            tune(
                self.teacher,
                student,
                "nano",
                read_recipe("nano-tune", [steps, *changes]),
                file.parent,
                merge=True,
            )
        return file

    def random_student(self) -> Path:
        """Weights that start at random, not as those of the teacher's blocks."""
        file = self.folder / "random.safetensors"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            unet = HummingbirdUNet(UNetConfig.from_preset(STUDENT))
            zero_residual_branches(unet)
            write_student(unet, self.teacher, file)
        return file


def cases(folder: Path, ablations: Ablations) -> list[Case]:
    """All rows; trains the students that lack a stage."""
    teacher, student = folder / TEACHER_FILE, folder / "tune" / STUDENT_NAME
    distilled = ablations.distilled("whole")
    random = ablations.distilled("random", ablations.random_student())
    teachers = [
        Case(f"teacher on its paths, guidance {scale:g}", teacher, 1, scale, pipeline=PathTeacher)
        for scale in TEACHER_GUIDANCES
    ]
    return [
        *teachers,
        Case("student, 4 steps", student),
        Case("student, 4 steps, 26 frames", student, frames=26),
        Case("fewer steps of training, all stages", ablations.tuned("whole", distilled)),
        Case("... without tuning: paths alone", distilled),
        Case("... with the reward of shapes", ablations.tuned("reward", distilled, WITH_REWARD)),
        Case(
            "... tuned towards predictions, not paths",
            ablations.tuned("at-once", distilled, AT_ONCE),
        ),
        Case("... tuned as a LoRA of rank 16", ablations.tuned("lora", distilled, LORA)),
        Case("... without distillation", ablations.tuned("distillation", STUDENT)),
        Case("... without the teacher's blocks", ablations.tuned("random", random)),
        Case("... tuned by consistency", ablations.tuned("consistency", distilled, CONSISTENCY)),
        Case(
            "... and that at a tenth of the learning rate",
            ablations.tuned("consistency-slowly", distilled, (*CONSISTENCY, *SLOWLY)),
        ),
    ]


def scores(model: Path) -> dict[str, str]:
    """Return reward and judge before and after tuning; nothing for a model that was not tuned."""
    file = model.with_name("judge.jsonl")
    if not file.exists():
        return {"reward": "", "judge": ""}
    first, *_, last = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return {
        name: f"{fmean(first[key]):.3f} to {fmean(last[key]):.3f}"
        for name, key in (("reward", "reward"), ("judge", "held_out"))
    }


def row(case: Case, prompts: int) -> dict:
    pipe = case.pipeline.from_pretrained(case.model)
    settings = {"num_inference_steps": case.steps, "guidance_scale": case.guidance}
    found = {
        kind: evaluate_nano(pipe, prompts, held_out=kind, num_frames=case.frames, **settings)
        for kind in HELD_OUT
    }
    distance, *spreads = measure_diversity(pipe, num_frames=case.frames, **settings).text()
    return {
        "model": case.name,
        "million parameters": count_parameters(pipe.unet.parameters()) / 1e6,
        **{
            f"{held_out}: {kind}": str(accuracy)
            for held_out, evaluation in found.items()
            for kind, accuracy in evaluation.accuracies.items()
        },
        **{
            f"{held_out}: distance": f"{evaluation.distance:.3f}"
            for held_out, evaluation in found.items()
        },
        "distance between seeds": distance,
        **{f"spread of {name}": text for name, text in zip(VARIED, spreads, strict=True)},
        **scores(case.model),
    }


def measure(todo: list[Case], prompts: int, journal: Path) -> list[dict]:
    """A row for each case; what the journal has of the same model is not measured again."""
    keys = [f"{prompts} {case.name} {sha256_of_file(case.model)}" for case in todo]
    rows = dict(read_journal(journal))
    with Journal(journal) as kept:
        for key, case in zip(keys, todo, strict=True):
            if key not in rows:
                rows[key] = row(case, prompts)
                kept.append(key, rows[key])
    return [rows[key] for key in keys]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/nano"), help="of `train nano`")
    parser.add_argument("--prompts", type=int, default=500, help="of each kind")
    parser.add_argument("--distil-steps", type=int, default=400, help="of ablations")
    parser.add_argument("--tuning-steps", type=int, default=150, help="of ablations")
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    teacher = args.folder / TEACHER_FILE
    ablations = Ablations(args.folder / "ablations", teacher, args.distil_steps, args.tuning_steps)
    journal = ablations.folder / "rows.jsonl"
    rows = measure(cases(args.folder, ablations), args.prompts, journal)
    record = {
        "command": shlex.join(["python", "benchmarks/scripts/nano_family.py", *sys.argv[1:]]),
        "prompts": args.prompts,
        "environment": environment(best_device()),
        "rows": rows,
    }
    title = (
        f"{args.prompts} held-out prompts of each kind, 95 % intervals; fewer steps of training: "
        f"{args.distil_steps} of distillation and {args.tuning_steps} of tuning"
    )
    table = f"{title}\n\n{markdown_table(rows)}\n"
    for suffix, text in ((".json", json.dumps(record, indent=2) + "\n"), (".md", table)):
        with atomic_write(args.output.with_suffix(suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
