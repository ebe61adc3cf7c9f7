"""Estimate of the memory of a full-size training step on each GPU, without a GPU.

    python benchmarks/scripts/training_memory.py -o benchmarks/results/training-memory

The step runs on fake tensors, which have shapes and lifetimes but no data, and the bytes of live
tensors are summed. (PyTorch's `MemTracker` does not support frozen weights.) Not included: the CUDA
context, allocator fragmentation, kernel workspaces. Optimizer, precision and checkpointing are
those of the recipes, except that AdamW's averages are counted in fp32 (8-bit ones take a quarter).
"""

from __future__ import annotations

import argparse
import shlex
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from recording import write_results
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from tqdm import tqdm

from hummingbird_core.bench.models import BenchConfig, load_full_vae
from hummingbird_core.lora.layers import new_lora
from hummingbird_core.sampling import consistency_function
from hummingbird_core.training.distillation.losses import pseudo_huber
from hummingbird_core.training.distillation.step import Conditions, student_eps, teacher_eps
from hummingbird_core.training.loop.modules import add_lora
from hummingbird_core.training.rewards.clip_image import ClipImageReward
from hummingbird_core.training.rewards.decoding import decode_for_reward
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

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
    teacher: str = "videocrafter2"


# Takes a second, to try the code.
SMALL_CASE = Case("1, nano", "hummingbird-nano", 4, 1, False, False, "nano-teacher")
CASES = [
    Case("1, distil-0.7b", "hummingbird-0.7b", 16, 2, lora=False, checkpointing=True),
    Case("1, one clip", "hummingbird-0.7b", 16, 1, lora=False, checkpointing=True),
    Case("1, kept activations", "hummingbird-0.7b", 16, 1, lora=False, checkpointing=False),
    Case("1, 26 frames", "hummingbird-0.7b", 26, 1, lora=False, checkpointing=True),
    Case("2, tune-0.7b", "hummingbird-0.7b", 26, 1, lora=True, checkpointing=True),
    Case("2, kept activations", "hummingbird-0.7b", 26, 1, lora=True, checkpointing=False),
    Case("2, 0.9B", "hummingbird-0.9b", 26, 1, lora=True, checkpointing=True),
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
        if case.lora:
            add_lora(student, new_lora(student), dtype=None)
            vae = load_full_vae(BenchConfig("hummingbird-0.7b")).requires_grad_(False)
            self.vae = place(vae)
            self.reward = place(ClipImageReward(vit_h(), "hpsv2"))
        self.student = place(student)
        trained = [p for p in self.student.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5)

    def weights(self) -> Iterator[Tensor]:
        """Return the weights of all models."""
        models = [self.teacher, self.student]
        models += [self.vae, self.reward] if self.case.lora else []
        return (weight for model in models for weight in model.parameters())

    def __call__(self) -> None:
        with torch.autocast(self.kind, torch.bfloat16):
            loss = self._stage_2() if self.case.lora else self._stage_1()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

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


def faked(model: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """`model` with fake weights of the same sizes; frozen ones in bf16."""
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            real = weight.data if weight.requires_grad else weight.data.bfloat16()
            setattr(module, name, nn.Parameter(mode.from_tensor(real), weight.requires_grad))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, mode.from_tensor(buffer))
    return model


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


class LiveBytes(TorchDispatchMode):
    """Dispatch mode that sums the storages of live tensors created inside it.

    Attributes:
        now, peak: bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        tree_map_only(Tensor, self.count, made)
        return made

    def count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        self._change(storage.nbytes())
        weakref.finalize(storage, self._change, -storage.nbytes())

    def _change(self, size: int) -> None:
        self.now += size
        self.peak = max(self.peak, self.now)


def estimate(case: Case) -> dict[str, float]:
    """GiB: the weights, with the optimizer's state, and the peak of a step that has both."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    step = Step(case, partial(faked, mode=mode))
    with mode, LiveBytes() as memory:
        for weight in step.weights():
            memory.count(weight)
        weights = memory.now
        step()
        state = memory.now
        memory.peak = 0
        step()
    sizes = {"weights": weights, "weights and AdamW": state, "peak": memory.peak}
    return {name: size / GIB for name, size in sizes.items()}


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
            **{name: f"{size:.1f} GiB" for name, size in result["GiB"].items()},
        }
        for result in results
    ]
    command = shlex.join(["python", "benchmarks/scripts/training_memory.py", *sys.argv[1:]])
    record = {"command": command, "torch": torch.__version__, "estimated": results}
    write_results(args.output, record, rows)


if __name__ == "__main__":
    main()
