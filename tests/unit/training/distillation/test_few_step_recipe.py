"""few-step-0.7b: one step of the recipe in the package, on tiny models and on full-size ones."""

from __future__ import annotations

import math

import pytest
import torch
from accelerate.state import AcceleratorState
from support.few_step import RECIPE, few_step_trainer
from support.tiny_training import tiny_models

from hummingbird_core.text.encoder import TextConfig, TextEncoder
from hummingbird_core.text.tokenizer import ClipTokenizer
from hummingbird_core.training.distillation.paths import PathConfig
from hummingbird_core.training.distillation.predictions import Models
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.loop.trainer import Trainer
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

HALF = torch.bfloat16


def sums(model: torch.nn.Module, *, trained: bool) -> list[float]:
    weights = [p.detach().flatten() for p in model.parameters() if p.requires_grad == trained]
    return [float(p[:: 1 + len(p) // 1000].double().sum()) for p in weights]


def check_a_step(models: Models, trainer: Trainer) -> dict[str, float]:
    """Take one step; all three models that learn have to move, and the teacher must not."""
    learning = {"student": models.student, **models.critics}
    before = {name: sums(model, trained=True) for name, model in learning.items()}
    teacher = sums(models.teacher, trained=False)
    numbers = trainer.step(0)
    assert all(map(math.isfinite, numbers.values())), numbers
    assert {"distribution", "adversarial", "fake_score/loss", "discriminator/loss"} < set(numbers)
    for name, model in learning.items():
        assert sums(model, trained=True) != before[name], f"{name} did not move"
    assert sums(models.teacher, trained=False) == teacher
    return numbers


def test_a_step_on_tiny_models(tmp_path):
    models = tiny_models()
    check_a_step(models, few_step_trainer(models, tmp_path))


def test_without_a_discriminator(tmp_path):
    models = tiny_models()
    trainer = few_step_trainer(models, tmp_path, "objectives.adversarial=null", "training.batch=1")
    assert list(models.critics) == ["fake_score"]
    assert "distribution" in trainer.step(1)  # of two sampling steps


def test_one_student_for_all_numbers_of_steps():
    noise = read_recipe(RECIPE).noise
    assert {noise.rollout_steps(step) for step in range(4)} == {1, 2, 4, 8}
    # A critic's updates are counted through, and see all numbers of steps too.
    updates = read_recipe(RECIPE).objectives.terms["distribution"].updates
    assert {noise.rollout_steps(number) for number in range(4 * updates)} == {1, 2, 4, 8}


def test_its_students_come_from_paths_for_the_same_steps_and_guidance():
    first, second = read_recipe("paths-0.7b"), read_recipe(RECIPE)
    assert isinstance(first.paths, PathConfig)
    assert first.paths.student_steps == second.noise.mixed_steps
    assert first.noise.guidance == second.noise.guidance
    assert first.noise.dynamic_rescale
    assert second.noise.dynamic_rescale
    assert first.data == second.data


def random_unet(preset: str) -> HummingbirdUNet:
    """Fill all weights from one pool of numbers: to draw a billion takes longer than the step."""
    unet = HummingbirdUNet(UNetConfig.from_preset(preset), device="meta", dtype=HALF)
    unet.to_empty(device="cpu")
    pool = 0.02 * torch.randn(2**20, dtype=HALF)
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if weight.ndim == 1:  # of norms, and biases
                weight.fill_(float(name.endswith("weight")))
                continue
            for part in weight.flatten().split(len(pool)):
                part.copy_(pool[: len(part)])
    return unet


@pytest.mark.slow
def test_a_step_on_full_size_models(tmp_path, monkeypatch):
    """2,185 M random weights in bf16, on 2 frames of 8x8 latents: 10 GB, some minutes."""
    # accelerate keeps one precision for a whole process, and the other tests use another.
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})
    tokenizer = ClipTokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student, teacher = random_unet("hummingbird-0.7b"), random_unet("videocrafter2")
        # As wide as the real one, with one block of 23.
        text = TextEncoder(TextConfig(layers=1, skip_last=0), tokenizer)
    for module in (teacher, text):
        module.eval().requires_grad_(False)
    models = Models(student, teacher, text)
    trainer = few_step_trainer(
        models,
        tmp_path,
        "training.precision=bf16",
        "training.learning_rate=1e-2",  # a rounding of bf16 is larger than 2e-6
        "training.batch=1",
        "training.ema_decay=0",
        "objectives.distribution.updates=1",
        "objectives.distribution.lora_rank=4",
        "objectives.distribution.critic_learning_rate=1e-2",
    )
    check_a_step(models, trainer)
