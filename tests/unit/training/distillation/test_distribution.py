"""Distribution matching: its gradient, its critic, and the modes that it keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tiny_training import OWN, tiny_models
from torch import nn

from hummingbird_core.errors import InputError
from hummingbird_core.sampling.schedule import add_noise, alpha_sigma, predict_x0
from hummingbird_core.training.data.nano_clips import NanoClips
from hummingbird_core.training.distillation.critics import make_critics
from hummingbird_core.training.distillation.distribution import (
    DistributionMatching,
    follow,
    matching_gradient,
)
from hummingbird_core.training.distillation.losses import OutputKD
from hummingbird_core.training.distillation.noise import NoiseConfig
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.distillation.step import DistillationLoss
from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.loop.trainer import train

MICRO_BATCH = MicroBatch(seed=0, step=0, size=2)


def loss_of(models, noise=OWN, **objective) -> tuple[DistillationLoss, list]:
    objectives = {"distribution": DistributionMatching(**objective)}
    loss = DistillationLoss(NanoClips(2), models, objectives, noise)
    return loss, make_critics(objectives, loss, seed=0)


def test_the_gradient_is_the_difference_of_scores_on_the_teachers_scale():
    x0, fake, teacher = torch.randn(3, 2, 4, 2, 3, 3)
    gradient = matching_gradient(x0, fake, teacher)
    for n in range(2):
        expected = (fake[n] - teacher[n]) / (x0[n] - teacher[n]).abs().mean()
        torch.testing.assert_close(gradient[n], expected)
    assert torch.equal(matching_gradient(x0, teacher, teacher), torch.zeros_like(x0))


def test_following_a_gradient_moves_against_it():
    x0, gradient = torch.randn(2, 1, 4, 2, 3, 3)
    x0.requires_grad_()
    follow(x0, gradient).backward()
    torch.testing.assert_close(x0.grad, gradient / x0.numel())


def test_a_critic_like_the_teacher_has_nothing_to_say_without_guidance():
    models = tiny_models()
    loss, _ = loss_of(models, replace(OWN, guidance=(0.0, 0.0)))
    with torch.no_grad():
        found = loss(MICRO_BATCH)
    assert float(found["distribution"]) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("rank", [0, 2])
def test_student_and_critic_get_their_own_gradients(rank):
    models = tiny_models()
    loss, (phase,) = loss_of(models, lora_rank=rank)
    trained = [p for p in phase.model.parameters() if p.requires_grad]
    whole = sum(p.numel() for p in phase.model.parameters())
    assert (sum(p.numel() for p in trained) < whole) == bool(rank)
    loss(MICRO_BATCH)["distribution"].backward()
    student = [p.grad for p in models.student.parameters() if p.requires_grad]
    assert any(grad is not None and grad.abs().sum() > 0 for grad in student)
    assert all(p.grad is None for p in trained)
    models.student.zero_grad()
    phase.loss(replace(MICRO_BATCH, phase=phase.name))["loss"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert all(p.grad is None or not p.grad.any() for p in models.student.parameters())
    assert all(p.grad is None for p in models.teacher.parameters())


def test_a_run_trains_both_and_resumes_exactly(tmp_path):
    def run(folder, steps):
        models = tiny_models()
        loss, phases = loss_of(models, updates=2, critic_learning_rate=1e-3)
        settings = TrainConfig(steps=steps, learning_rate=1e-3, batch=2, save_every=2)
        train("tiny", models.student, loss, settings, folder, phases=phases)
        return models

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 4)
    for name, value in whole.student.state_dict().items():
        assert torch.equal(value, parts.student.state_dict()[name]), name
    critic, again = (m.critics["fake_score"].state_dict() for m in (whole, parts))
    assert all(torch.equal(value, again[name]) for name, value in critic.items())
    changed = [not torch.equal(v, whole.teacher.state_dict()[k]) for k, v in critic.items()]
    assert any(changed)


class TwoModes(nn.Module):
    """The exact score of two clips, all ones and all minus ones, equally likely."""

    def forward(self, sample: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha, sigma = alpha_sigma(t, sample)
        mean = (sample * alpha / sigma**2).sum(dim=(1, 2, 3, 4), keepdim=True)
        x0 = torch.tanh(mean).expand_as(sample)  # E[x_0 | x_t]
        return (sample - alpha * x0) / sigma


def test_a_generator_that_follows_the_gradient_reaches_both_modes():
    """Where the mean of all clips is 0 and a loss that seeks it ends there."""
    torch.manual_seed(0)
    real, fake = TwoModes(), nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 1))
    generator = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 1))
    students = torch.optim.Adam(generator.parameters(), 2e-3, betas=(0.5, 0.99))
    critics = torch.optim.Adam(fake.parameters(), 4e-3, betas=(0.5, 0.99))
    t = torch.full((256,), 420)

    def draw() -> torch.Tensor:
        return generator(torch.randn(256, 1)).reshape(-1, 1, 1, 1, 1)

    def fake_x0(sample: torch.Tensor) -> torch.Tensor:
        return fake(sample.reshape(-1, 1)).reshape_as(sample)

    for step in range(900):
        with torch.no_grad():
            x0 = draw()
        sample = add_noise(x0, torch.randn_like(x0), t)
        critics.zero_grad()
        (fake_x0(sample) - x0).square().mean().backward()
        critics.step()
        if step % 3 == 0:
            x0 = draw()
            with torch.no_grad():
                sample = add_noise(x0, torch.randn_like(x0), t)
                teacher = predict_x0(sample, real(sample, t), t)
                gradient = matching_gradient(x0, fake_x0(sample), teacher)
            students.zero_grad()
            follow(x0, gradient).backward()
            students.step()
    with torch.no_grad():
        made = draw().flatten()
    assert float((made > 0.5).float().mean()) > 0.25
    assert float((made < -0.5).float().mean()) > 0.25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["objectives.distribution.updates=0"], "updates"),
        (["objectives.distribution.timesteps=[900, 20]"], "rising"),
        (["objectives.distribution.critic_learning_rate=0"], "critic_learning_rate"),
        (["noise.mixed_steps=[1, 60]"], "60"),
    ],
)
def test_recipes_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        read_recipe("nano-tune", changes)


def test_clips_that_are_not_the_students_are_refused():
    loss, _ = loss_of(tiny_models(), NoiseConfig(guidance=(1.0, 9.0)))
    with pytest.raises(InputError, match="expected on_policy"):
        loss(MICRO_BATCH)


def test_a_critic_for_some_steps_only_is_refused():
    objectives = {"kd": OutputKD(), "distribution": DistributionMatching(every=2)}
    loss = DistillationLoss(NanoClips(2), tiny_models(), objectives, OWN)
    with pytest.raises(InputError, match="each critic once, for every step"):
        make_critics(objectives, loss, seed=0)


def test_training_steps_take_numbers_of_sampling_steps_in_turn():
    noise = NoiseConfig(samples="on_policy", mixed_steps=(1, 2, 4))
    assert [noise.rollout_steps(step) for step in range(4)] == [1, 2, 4, 1]
    loss, _ = loss_of(tiny_models(), replace(noise, guidance=(1.0, 9.0)))
    one = loss.draw(replace(MICRO_BATCH, step=3))
    assert one.t.tolist() == [999, 999]
