"""The discriminator on the teacher: its heads, its gradients, and what it learns to tell apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tiny_training import GRID, OWN, TEACHER, tiny_models

from hummingbird_core.errors import InputError
from hummingbird_core.training.data.nano_clips import NanoClips
from hummingbird_core.training.distillation.adversarial import (
    Adversarial,
    Discriminator,
    feature_blocks,
)
from hummingbird_core.training.distillation.critics import (
    WATCHED_LOSSES,
    CriticWatch,
    make_critics,
)
from hummingbird_core.training.distillation.losses import PathKD
from hummingbird_core.training.distillation.noise import NoiseConfig
from hummingbird_core.training.distillation.paths import PathConfig, PathLoss, make_paths
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.distillation.step import DistillationLoss
from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.loop.trainer import train
from hummingbird_core.unet import PRESETS, HummingbirdUNet

MICRO_BATCH = MicroBatch(seed=0, step=0, size=2)


def loss_of(models, noise=OWN):
    objectives = {"adversarial": Adversarial()}
    loss = DistillationLoss(NanoClips(2), models, objectives, noise)
    return loss, make_critics(objectives, loss, seed=0)


@pytest.mark.parametrize("name", ["nano-teacher", "videocrafter2", "hummingbird-0.7b"])
def test_heads_stand_on_the_levels_of_any_encoder(name):
    config = PRESETS[name]
    unet = HummingbirdUNet(config, device="meta")
    for block, channels in feature_blocks(config).items():
        layers = dict(unet.get_submodule(block).named_parameters())
        assert layers["0.out_layers.3.weight"].shape[0] == channels
        assert channels % config.norm_groups == 0
    assert ("middle_block" in feature_blocks(config)) == config.middle_block


def test_logits_are_one_for_each_place_of_each_block():
    heads = Discriminator({"a": 8, "b": 16}, groups=4)
    features = {"a": torch.randn(6, 8, 4, 4), "b": torch.randn(6, 16, 2, 2)}
    assert heads(features, batch=2).shape == (2, 3 * 16 + 3 * 4)


@pytest.mark.parametrize("noise", [OWN, GRID], ids=["on_policy", "data"])
def test_student_and_heads_get_their_own_gradients(noise):
    models = tiny_models()
    loss, (phase,) = loss_of(models, noise)
    loss(MICRO_BATCH)["adversarial"].backward()
    assert any(p.grad is not None and p.grad.any() for p in models.student.parameters())
    models.student.zero_grad()
    phase.loss(replace(MICRO_BATCH, phase=phase.name))["loss"].backward()
    assert all(p.grad is not None for p in phase.model.parameters())
    assert all(p.grad is None or not p.grad.any() for p in models.student.parameters())
    assert all(p.grad is None for p in models.teacher.parameters())


class Sure(Adversarial):
    """Knows real clips, with any text."""

    def _logits(self, step, x0, shift=0):
        return torch.full((len(x0), 1), 20.0 if x0 is step.real else -20.0)


@pytest.mark.parametrize(("clips", "expected"), [(1, 0), (2, 20)])
def test_the_text_of_another_clip_needs_another_clip(clips, expected):
    """A clip alone in its micro-batch was also shown as false, with its own text."""
    loss = DistillationLoss(NanoClips(2), tiny_models(), {}, OWN)
    step = loss.draw(MicroBatch(seed=0, step=0, size=clips))
    assert float(Sure().critic_loss(step)) == pytest.approx(expected, abs=1e-5)


def test_the_teachers_activations_are_computed_again_where_the_students_are():
    models = tiny_models()
    models.student.gradient_checkpointing = True
    loss, _ = loss_of(models)

    def gradients() -> list[torch.Tensor]:
        student = [p for p in models.student.parameters() if p.requires_grad]
        value = loss(MICRO_BATCH)["adversarial"]
        return [g for g in torch.autograd.grad(value, student, allow_unused=True) if g is not None]

    assert models.teacher.gradient_checkpointing
    again = gradients()
    models.teacher.gradient_checkpointing = False
    for first, second in zip(gradients(), again, strict=True):
        torch.testing.assert_close(first, second)


def test_the_heads_learn_to_tell_clips_from_the_students_videos(tmp_path):
    """Against a student that does not move: from 3 ln 2, at most to the 2 ln 2 of equal texts."""
    _, (phase,) = loss_of(tiny_models())
    settings = TrainConfig(steps=20, learning_rate=1e-2, batch=4)
    heldout = MicroBatch(seed=9, step=0, size=8)

    def critic_loss() -> float:
        with torch.no_grad():
            return float(phase.loss(heldout)["loss"])

    before = critic_loss()
    train("heads", phase.model, phase.loss, settings, tmp_path)
    assert critic_loss() < before - 0.1


def test_with_paths_it_is_the_recipe_for_one_step(tmp_path):
    models = tiny_models()
    noise = NoiseConfig(samples="teacher_path", guidance=(1.0, 9.0))
    settings = PathConfig(count=16, timesteps=(999, 499), student_steps=(1,), first_share=1.0)
    paths = make_paths(
        models, NanoClips(2), noise, settings, tmp_path / "paths", seed=0, teacher_hash=""
    )
    objectives = {"path_kd": PathKD(), "adversarial": Adversarial(weight=0.1)}
    loss = PathLoss(paths, models, objectives, noise)
    phases = make_critics(objectives, loss, seed=0)
    settings = TrainConfig(steps=3, learning_rate=1e-3, batch=2)
    train("one-step", models.student, loss, settings, tmp_path, phases=phases)
    terms = loss(MicroBatch(seed=0, step=5, size=2))
    assert set(terms) == {"path_kd", "adversarial"}
    assert all(term.isfinite() for term in terms.values())


def test_recipes_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="rising"):
        read_recipe("nano-tune", ["objectives.adversarial.timesteps=[749, 0]"])


def test_the_tiny_teacher_has_the_blocks():
    assert feature_blocks(TEACHER) == {"input_blocks.2": 8, "input_blocks.5": 8, "middle_block": 8}


@pytest.mark.parametrize(
    ("loss", "said"), [(0.01, "never fooled"), (1.4, None), (2.2, "tells nothing apart")]
)
def test_a_discriminator_that_wins_or_collapses_is_warned_about(caplog, loss, said):
    watch = CriticWatch(Adversarial())
    for step in range(WATCHED_LOSSES):
        watch.add(step, torch.tensor(loss))
    if said is None:
        assert not caplog.messages
    else:
        (line,) = caplog.messages
        assert f"step {WATCHED_LOSSES - 1}: the mean loss of the discriminator is" in line
        assert said in line


def test_a_few_losses_are_no_reason_to_warn(caplog):
    watch = CriticWatch(Adversarial())
    for step in range(WATCHED_LOSSES - 1):
        watch.add(step, torch.tensor(0.0))
    assert not caplog.messages
