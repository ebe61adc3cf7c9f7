"""Estimates what a training step takes on each GPU at full size, without a GPU.

    python benchmarks/training_memory.py -o benchmarks/results/training-memory

The step is run on fake tensors, which have shapes and lifetimes but no numbers, and PyTorch's
`MemTracker` adds up what is alive. What it can't see: the CUDA context, the allocator's
fragments, workspaces of kernels. Optimizer, precision and checkpointing are those of the recipes,
except that AdamW's averages are counted in fp32 (8-bit ones are a quarter of that).
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from recording import write_results
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from tqdm import tqdm

from hummingbird_core.evaluation.bench_models import BenchSettings, load_full_vae
from hummingbird_core.lora_training import new_lora
from hummingbird_core.sampling import consistency_function
from hummingbird_core.training.distances import pseudo_huber
from hummingbird_core.training.guidance import Conditions, guided_prediction, predict
from hummingbird_core.training.preparing import add_lora
from hummingbird_core.training.rewards.clip_image import ClipImageReward
from hummingbird_core.training.rewards.decoding import decode_for_reward
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

HEIGHT, WIDTH, TEXT_WIDTH = 320 // 8, 512 // 8, 1024
GIB = 2**30


@dataclass(frozen=True)
class Case:
    """A stage as a recipe runs it.

    Attributes:
        clips: that a GPU computes at once.
        lora: stage 2, consistency and image reward with a LoRA; else stage 1 on all weights.
        checkpointing: whether activations are computed again in the backward pass.
    """

    stage: str
    preset: str
    frames: int
    clips: int
    lora: bool
    checkpointing: bool


CASES = [
    Case("1, distil-0.7b", "hummingbird-0.7b", 16, 2, lora=False, checkpointing=True),
    Case("1, one clip", "hummingbird-0.7b", 16, 1, lora=False, checkpointing=True),
    Case("1, kept activations", "hummingbird-0.7b", 16, 1, lora=False, checkpointing=False),
    Case("1, 26 frames", "hummingbird-0.7b", 26, 1, lora=False, checkpointing=True),
    Case("2, tune-0.7b", "hummingbird-0.7b", 26, 1, lora=True, checkpointing=True),
    Case("2, kept activations", "hummingbird-0.7b", 26, 1, lora=True, checkpointing=False),
    Case("2, 0.9B", "hummingbird-0.9b", 26, 1, lora=True, checkpointing=True),
]


class Step:
    """Models, optimizer and one step of a case, all of them fake."""

    def __init__(self, case: Case):
        self.case = case
        config = UNetConfig.from_preset("videocrafter2")
        self.teacher = HummingbirdUNet(config).eval().requires_grad_(False).bfloat16()
        self.student = HummingbirdUNet(UNetConfig.from_preset(case.preset)).train()
        self.student.gradient_checkpointing = case.checkpointing
        if case.lora:
            add_lora(self.student, new_lora(self.student), torch.bfloat16)
        trained = [p for p in self.student.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5)
        frozen = [self.teacher]
        if case.lora:
            self.vae = load_full_vae(BenchSettings("hummingbird-0.7b")).bfloat16()
            self.reward = ClipImageReward(vit_h().bfloat16(), "hpsv2")
            frozen += [self.vae, self.reward]
        self.models = [self.student, *frozen]

    def __call__(self) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = self._stage_2() if self.case.lora else self._stage_1()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _stage_1(self) -> Tensor:
        sample, t, conditions = self._batch()
        with torch.no_grad():
            target = guided_prediction(self.teacher, sample, t, conditions)
        student = predict(self.student, sample, t, conditions, told=False)
        return (student - target).square().mean()

    def _stage_2(self) -> Tensor:
        sample, t, conditions = self._batch()
        value = consistency_function(sample, predict(self.student, sample, t, conditions), t)
        with torch.no_grad():
            earlier = guided_prediction(self.teacher, sample, t, conditions)
            noise = predict(self.student, earlier, t, conditions)
            target = consistency_function(earlier, noise, t)
        video = decode_for_reward(self.vae, value, torch.arange(5), chunk=1)
        reward = self.reward(video, ["a fox in the snow"] * self.case.clips, torch.Generator())
        return pseudo_huber(value, target, 0.001) - reward.mean()

    def _batch(self) -> tuple[Tensor, Tensor, Conditions]:
        clips = self.case.clips
        text = torch.randn(clips, 77, TEXT_WIDTH)
        conditions = Conditions(text, text, torch.full((clips,), 8.0), torch.full((clips,), 7.5))
        sample = torch.randn(clips, 4, self.case.frames, HEIGHT, WIDTH)
        return sample, torch.full((clips,), 519), conditions


def vit_h() -> nn.Module:
    """CLIP ViT-H/14, the network of HPSv2.1 and PickScore."""
    from transformers import CLIPConfig, CLIPModel

    vision = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}
    vision |= {"num_attention_heads": 16, "patch_size": 14}
    text = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
    text |= {"num_attention_heads": 16}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=1024)
    return CLIPModel(config)


def estimate(case: Case) -> dict[str, float]:
    """Peak memory in GiB by kind, of a step after the first (which makes the optimizer's state)."""
    # Conversions between dtypes must make new weights: fake ones can't be swapped.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    with FakeTensorMode():
        step = Step(case)
        tracker = MemTracker()
        tracker.track_external(*step.models, step.optimizer)
        with tracker:
            step()
            tracker.reset_mod_stats()
            step()
        [snapshot] = tracker.get_tracker_snapshot("peak").values()
    return {str(getattr(kind, "value", kind)): size / GIB for kind, size in snapshot.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    results = [{**asdict(case), "GiB": estimate(case)} for case in tqdm(CASES, unit="case")]
    rows = [
        {
            "stage": result["stage"],
            "student": result["preset"],
            "frames": result["frames"],
            "clips at once": result["clips"],
            "weights": f"{result['GiB']['Parameter']:.1f} GiB",
            "AdamW": f"{result['GiB']['Optstate']:.1f} GiB",
            "peak": f"{result['GiB']['Total']:.1f} GiB",
        }
        for result in results
    ]
    command = shlex.join(["python", "benchmarks/training_memory.py", *sys.argv[1:]])
    record = {"command": command, "torch": torch.__version__, "estimated": results}
    write_results(args.output, record, rows)


if __name__ == "__main__":
    main()
