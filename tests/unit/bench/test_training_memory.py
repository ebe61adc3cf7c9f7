"""The estimate of a training step's memory, against the tensors of a real step."""

from __future__ import annotations

import pytest
from support.few_step import few_step_trainer
from support.paths import ROOT
from support.tiny_training import tiny_models

from hummingbird_core.training.loop.phase import trained_parameters
from hummingbird_core.unet import PRESETS


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "scripts"))
    return pytest.importorskip("training_memory")


def size(tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_the_parts_of_few_steps_are_those_of_a_real_step(memory, tmp_path):
    """Teacher, student, fake score and heads, the average, and all three optimizers."""
    models = tiny_models(PRESETS["nano-teacher"], PRESETS["hummingbird-nano"])
    trainer = few_step_trainer(models, tmp_path, "training.batch=1")
    trainer.step(0)
    real = {
        "teacher": size(models.teacher.parameters()) / 2,  # fp32 here, and bf16 on a GPU
        "student": size(models.student.parameters()),
        "average": size(average for _, average in trainer.ema.pairs),
        # The LoRA alone: its other weights are the teacher's, which count once.
        "fake_score": size(trained_parameters(models.critics["fake_score"])),
        "discriminator": size(models.critics["discriminator"].parameters()),
    }
    states = [state for each in trainer.updaters for state in each.optimizer.state.values()]
    optimizers = size(state[key] for state in states for key in ("exp_avg", "exp_avg_sq"))
    weights = sum(real.values())
    expected = {**real, "weights": weights, "weights and AdamW": weights + optimizers}
    step, _ = memory.fake_step(memory.SMALL_FEW_STEPS)
    assert step.parts() == expected
    assert all(expected.values())


def test_the_recorded_table_has_the_recipes(memory):
    results = ROOT / "benchmarks" / "results" / "training-memory.md"
    text = results.read_text(encoding="utf-8")
    assert all(f"| {case.stage} |" in text for case in memory.CASES)
