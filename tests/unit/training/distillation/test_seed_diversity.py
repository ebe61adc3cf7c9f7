"""Diversity of validation videos over seeds: measured against the teacher, and warned about."""

from __future__ import annotations

import json

import pytest
import torch
from support.tiny_training import OWN, tiny_models

from hummingbird_core.training.distillation.recipe import DataConfig, ValidationConfig
from hummingbird_core.training.distillation.seed_diversity import SeedDiversity
from hummingbird_core.training.distillation.validation import Validation
from hummingbird_core.training.nano.autoencoder import build_vae

SHAPE = (2, 3, 4, 2, 8, 8)  # prompts, seeds, latents


def different(scale: float) -> torch.Tensor:
    return scale * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def test_a_student_that_draws_one_video_is_warned_about(tmp_path, caplog):
    log = SeedDiversity(tmp_path / "diversity.jsonl")
    log.add_teacher(different(1.0))
    assert log.add(0, different(0.1)) == pytest.approx(0.1)  # before training: says nothing
    assert log.add(100, different(0.9)) == pytest.approx(0.9)
    assert not caplog.records
    assert log.add(200, different(0.5)) == pytest.approx(0.5)
    (record,) = caplog.records
    assert "step 200" in record.getMessage()
    assert "50 %" in record.getMessage()


def test_a_resumed_run_goes_on_and_keeps_the_teachers_distances(tmp_path):
    path = tmp_path / "diversity.jsonl"
    log = SeedDiversity(path)
    log.add_teacher(different(1.0))
    for step in (0, 100, 200):
        log.add(step, different(0.9))
    resumed = SeedDiversity(path)
    assert not resumed.needs_teacher
    resumed.add(200, different(0.8))  # the state was that of step 150
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [-1, 0, 100, 200]
    assert len(lines[0]["seed_distance"]) == 2


@pytest.mark.parametrize("sampler", ["consistency", "ddim"])
def test_validation_compares_seeds_with_the_teachers(sampler, tmp_path):
    settings = ValidationConfig(
        prompts=("a red circle moves right", "a blue square moves up"),
        sampler=sampler,
        num_inference_steps=2,
        seeds=2,
    )
    models = tiny_models()
    log = SeedDiversity(tmp_path / "diversity.jsonl")
    data = DataConfig(num_frames=(2,), height=64, width=64)
    validation = Validation(
        models,
        build_vae().eval(),
        settings,
        OWN,
        data,
        tmp_path / "videos",
        writes=True,
        diversity=log,
    )
    with torch.no_grad():
        validation(0)
    assert sorted(log.distances) == [-1, 0]
    assert all(value > 0 for values in log.distances.values() for value in values)
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 2  # of the first seed alone
