"""Estimate of the memory of a full-size training step on each GPU, without a GPU.

    python benchmarks/scripts/training_memory.py -o benchmarks/results/training-memory

The step runs on fake tensors, which have shapes and lifetimes but no data, and the bytes of live
tensors are summed. (PyTorch's `MemTracker` does not support frozen weights.) Not included: the CUDA
context, allocator fragmentation, kernel workspaces. Optimizer, precision and checkpointing are
those of the recipes, except that AdamW's averages are counted in fp32 (8-bit ones take a quarter).

"weights and AdamW" has the averages of all that is trained, also of fake score and discriminator;
the peak has gradients, and the activations of the phase that needs most, too. A fake score that is
a LoRA shares the teacher's weights, which count once. Cases that OUTPUT.json has are not estimated
again: delete it after a change of this script or of the models.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from fake_memory import LiveBytes, faked
from recording import write_results
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from tqdm import tqdm

from hummingbird_core.bench.models import BenchConfig, load_full_vae
from hummingbird_core.lora.layers import new_lora
from hummingbird_core.sampling import consistency_function
from hummingbird_core.training.distillation.critics import CriticObjective
from hummingbird_core.training.distillation.losses import pseudo_huber
from hummingbird_core.training.distillation.predictions import Models
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.distillation.step import Conditions, student_eps, teacher_eps
from hummingbird_core.training.distillation.step import Step as DistillationStep
from hummingbird_core.training.loop.ema import EMA
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.loop.modules import add_lora
from hummingbird_core.training.loop.phase import frozen, trained_parameters
from hummingbird_core.training.rewards.clip_image import ClipImageReward
from hummingbird_core.training.rewards.decoding import decode_for_reward
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

GIB = 2**30
SUMS = ("weights", "weights and AdamW", "peak")
PARTS = ("teacher", "student", "average", "fake_score", "discriminator", "VAE", "reward")


@dataclass(frozen=True)
class Case:
    """A stage as a recipe runs it.

    Attributes:
        clips: that a GPU computes at once.
        lora: stage 2, consistency and image reward with a LoRA; else all weights are trained.
        checkpointing: whether activations are computed again in the backward pass.
        objectives: those of few-step-0.7b to train with, in place of the stage's own.
    """

    stage: str
    preset: str
    frames: int
    clips: int
    lora: bool
    checkpointing: bool
    teacher: str = "videocrafter2"
    objectives: tuple[str, ...] = ()


BOTH = ("distribution", "adversarial")
# Takes a second, to try the code.
SMALL_CASE = Case("1, nano", "hummingbird-nano", 4, 1, False, False, "nano-teacher")
SMALL_FEW_STEPS = replace(SMALL_CASE, stage="few steps, nano", objectives=BOTH)
FEW_STEPS = Case(
    "few-step-0.7b", "hummingbird-0.7b", 16, 1, lora=False, checkpointing=True, objectives=BOTH
)
CASES = [
    Case("1, distil-0.7b", "hummingbird-0.7b", 16, 2, lora=False, checkpointing=True),
    Case("1, one clip", "hummingbird-0.7b", 16, 1, lora=False, checkpointing=True),
    Case("1, kept activations", "hummingbird-0.7b", 16, 1, lora=False, checkpointing=False),
    Case("1, 26 frames", "hummingbird-0.7b", 26, 1, lora=False, checkpointing=True),
    Case("2, tune-0.7b", "hummingbird-0.7b", 26, 1, lora=True, checkpointing=True),
    Case("2, kept activations", "hummingbird-0.7b", 26, 1, lora=True, checkpointing=False),
    Case("2, 0.9B", "hummingbird-0.9b", 26, 1, lora=True, checkpointing=True),
    FEW_STEPS,
    replace(FEW_STEPS, stage="few steps, no discriminator", objectives=BOTH[:1]),
]

Place = Callable[[nn.Module], nn.Module]


class Step:
    """Models, optimizer and one step of a case.

    Args:
        case: the stage.
        place: puts a model where it computes, or makes it fake.
        kind: type of the device.
    """

    def __init__(self, case: Case, place: Place, kind: str = "cpu"):
        self.case, self.kind = case, kind
        self.config = UNetConfig.from_preset(case.preset)
        self.teacher = place(a_unet(case.teacher).eval().requires_grad_(False))
        student = a_unet(case.preset).train()
        student.gradient_checkpointing = case.checkpointing
        self.models = {"teacher": self.teacher}
        if case.lora:
            add_lora(student, new_lora(student), dtype=None)
            with torch.device("cpu"):
                vae = load_full_vae(BenchConfig("hummingbird-0.7b")).requires_grad_(False)
            self.vae = place(vae)
            self.reward = place(ClipImageReward(vit_h(), "hpsv2"))
            self.models |= {"VAE": self.vae, "reward": self.reward}
        self.student = self.models["student"] = place(student)
        self.objectives, self.average = {}, None
        if case.objectives:
            self._add_critics(place)
        self.optimizers = {
            name: torch.optim.AdamW(trained, lr=1e-5)
            for name, model in self.models.items()
            if (trained := trained_parameters(model))
        }

    def _add_critics(self, place: Place) -> None:
        """Add what few-step-0.7b trains besides the student, and the student's average."""
        recipe = read_recipe("few-step-0.7b")
        self.noise = replace(recipe.noise, cfg_start_timestep=0)  # guided at all, the larger case
        models = Models(self.student, self.teacher, text_encoder=None)
        for name in self.case.objectives:
            objective = recipe.objectives.terms[name]
            with torch.device("cpu"):  # its random numbers are the CPU's
                critic = objective.make_critic(models, seed=0)
            models.critics[objective.critic_name] = place(critic.train())
            self.objectives[name] = objective
        self.few_steps = models
        self.models |= models.critics
        self.average = EMA(models.student, recipe.training.ema_decay)

    def weights(self) -> Iterator[Tensor]:
        """Return the weights of all models, and the average."""
        for model in self.models.values():
            yield from model.parameters()
        yield from self._averages()

    def _averages(self) -> list[Tensor]:
        return [average for _, average in self.average.pairs] if self.average else []

    def parts(self) -> dict[str, int]:
        """Return the bytes of each model's weights, of the average, and of AdamW's two averages."""
        seen: set[int] = set()
        parts = {}
        for name, model in self.models.items():
            own = {id(weight): weight for weight in model.parameters()}
            parts[name] = sum(weight.nbytes for key, weight in own.items() if key not in seen)
            seen |= own.keys()
        parts["average"] = sum(average.nbytes for average in self._averages())
        trained = [p for model in self.models.values() for p in trained_parameters(model)]
        parts["weights"] = sum(parts.values())
        parts["weights and AdamW"] = parts["weights"] + 2 * sum(weight.nbytes for weight in trained)
        return parts

    def __call__(self) -> None:
        for objective in self.objectives.values():
            self._update(objective.critic_name, lambda o=objective: self._critic(o))
        self._update("student", self._student)

    def _update(self, name: str, loss_of: Callable[[], Tensor]) -> None:
        others = [p for n, m in self.models.items() if n != name for p in trained_parameters(m)]
        with frozen(others):
            with torch.autocast(self.kind, torch.bfloat16):
                loss = loss_of()
            loss.backward()
            self.optimizers[name].step()
            self.optimizers[name].zero_grad()

    def _student(self) -> Tensor:
        if self.objectives:
            step = self._few_step()
            return torch.stack([o.weight * o.loss(step) for o in self.objectives.values()]).sum()
        return self._stage_2() if self.case.lora else self._stage_1()

    def _critic(self, objective: CriticObjective) -> Tensor:
        """Return the loss of a critic, for a video that the student has made before."""
        step = self._few_step()
        step.__dict__["denoised"] = step.sample  # its cached property: without gradient, so smaller
        return objective.critic_loss(step)

    def _few_step(self) -> DistillationStep:
        sample, t, conditions = self._batch()
        micro_batch = MicroBatch(seed=0, step=0, size=self.case.clips)
        captions = ["a fox in the snow"] * self.case.clips
        return DistillationStep(
            micro_batch, self.few_steps, self.noise, sample, t, conditions, captions, clean=sample
        )

    def _stage_1(self) -> Tensor:
        sample, t, conditions = self._batch()
        with torch.no_grad():
            target = teacher_eps(self.teacher, sample, t, conditions)
        student = student_eps(self.student, sample, t, conditions, condition_on_guidance=False)
        return (student - target).square().mean()

    def _stage_2(self) -> Tensor:
        sample, t, conditions = self._batch()
        value = consistency_function(sample, student_eps(self.student, sample, t, conditions), t)
        with torch.no_grad():
            earlier = teacher_eps(self.teacher, sample, t, conditions)
            noise = student_eps(self.student, earlier, t, conditions)
            target = consistency_function(earlier, noise, t)
        video = decode_for_reward(self.vae, value, torch.arange(5), chunk=1)
        reward = self.reward(video, ["a fox in the snow"] * self.case.clips, torch.Generator())
        return pseudo_huber(value, target, 0.001) - reward.mean()

    def _batch(self) -> tuple[Tensor, Tensor, Conditions]:
        clips = self.case.clips
        text = torch.randn(clips, 77, self.config.context_dim)
        conditions = Conditions(text, text, torch.full((clips,), 8.0), torch.full((clips,), 7.5))
        height, width = self.config.height // 8, self.config.width // 8
        sample = torch.randn(clips, 4, self.case.frames, height, width)
        return sample, torch.full((clips,), 519), conditions


def a_unet(preset: str) -> HummingbirdUNet:
    return HummingbirdUNet(UNetConfig.from_preset(preset))


def vit_h() -> nn.Module:
    """CLIP ViT-H/14, the network of HPSv2.1 and PickScore."""
    from transformers import CLIPConfig, CLIPModel

    vision = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}
    vision |= {"num_attention_heads": 16, "patch_size": 14}
    text = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
    text |= {"num_attention_heads": 16}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=1024)
    return CLIPModel(config)


def fake_step(case: Case) -> tuple[Step, FakeTensorMode]:
    """Return a step on fake tensors, with their mode."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.device("meta"):  # sizes alone: no time, no memory
        return Step(case, partial(faked, mode=mode)), mode


def estimate(case: Case) -> dict[str, float]:
    """Return the GiB of each part, of all weights, with the optimizers' state, and the peak."""
    step, mode = fake_step(case)
    with mode, LiveBytes() as memory:
        for weight in step.weights():
            memory.count(weight)
        step()
        memory.peak = 0
        step()
    return in_gib({**step.parts(), "peak": memory.peak})


def in_gib(sizes: Mapping[str, int]) -> dict[str, float]:
    return {name: size / GIB for name, size in sizes.items()}


def recorded(path: Path) -> dict[Case, dict[str, float]]:
    """Return the estimates on record, by their case."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))["estimated"]
    return {
        Case(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items() if k != "GiB"}): (
            row["GiB"]
        )
        for row in rows
    }


def write(output: Path, found: Mapping[Case, Mapping[str, float]]) -> None:
    cases = [case for case in CASES if case in found]
    rows = [
        {
            "stage": case.stage,
            "student": case.preset,
            "frames": case.frames,
            "clips at once": case.clips,
            **{name: shown(found[case].get(name)) for name in SUMS},
            "of the weights": ", ".join(
                f"{name.replace('_', ' ')} {found[case][name]:.1f}"
                for name in PARTS
                if found[case].get(name)
            ),
        }
        for case in cases
    ]
    estimated = [{**asdict(case), "GiB": dict(found[case])} for case in cases]
    command = shlex.join(["python", "benchmarks/scripts/training_memory.py", "-o", str(output)])
    record = {"command": command, "torch": torch.__version__, "estimated": estimated}
    write_results(output, record, rows)


def shown(size: float | None) -> str:
    return "not estimated yet" if size is None else f"{size:.1f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    found = recorded(args.output.with_suffix(".json"))
    missing = [case for case in CASES if "peak" not in found.get(case, {})]
    for case in tqdm(missing, unit="case"):  # all sizes first: steps take minutes
        step, _ = fake_step(case)
        found[case] = in_gib(step.parts())
        write(args.output, found)
    for case in tqdm(missing, unit="case"):
        found[case] = estimate(case)
        write(args.output, found)


if __name__ == "__main__":
    main()
