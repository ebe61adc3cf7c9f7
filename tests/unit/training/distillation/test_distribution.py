"""Distribution matching: its gradient, its critic, and the modes that it keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tiny_training import OWN, tiny_models
from torch import nn

from hummingbird_core.errors import InputError
from hummingbird_core.sampling.schedule import add_noise, alpha_sigma, predict_x0, scale_latents
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


class Scaled(nn.Module):
    """The exact noise of clips that are all `value`, for a teacher on rescaled latents."""

    def __init__(self, value: float):
        super().__init__()
        self.value = value

    def forward(self, sample, t, context, fps):
        alpha, sigma = alpha_sigma(t, sample)
        clip = scale_latents(torch.full_like(sample, self.value), t)
        return (sample - alpha * clip) / sigma


def test_a_rescaled_teacher_sees_rescaled_videos():
    """It saw them at 1 / 0.7 of the contrast that it knows, and the fake score learned that."""
    noise = replace(OWN, guidance=(0.0, 0.0), dynamic_rescale=True)
    models = replace(tiny_models(), teacher=Scaled(0.5), critics={"fake_score": Scaled(2.0)})
    step = DistillationLoss(NanoClips(2), models, {}, noise).draw(MICRO_BATCH)
    made = torch.full_like(step.sample, 2.0, requires_grad=True)
    step.__dict__["denoised"] = made  # what the student made: exactly what the fake score knows
    objective = DistributionMatching(timesteps=(600, 700))
    assert objective.critic_loss(step).item() == pytest.approx(0, abs=1e-9)
    # grad = (s 2 - s 0.5) / |s 2 - s 0.5| = 1, by s x~, and so s = 0.7 by x~
    objective.loss(step).backward()
    expected = torch.full_like(made, 0.7 / made.numel())
    torch.testing.assert_close(made.grad, expected, rtol=1e-4, atol=0)


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


def test_a_lora_shares_the_teachers_weights(tmp_path):
    models = tiny_models()
    before = {name: value.clone() for name, value in models.teacher.state_dict().items()}
    _, (phase,) = loss_of(models, lora_rank=2)
    frozen = {p.data_ptr() for p in phase.model.parameters() if not p.requires_grad}
    assert frozen == {p.data_ptr() for p in models.teacher.parameters()}
    settings = TrainConfig(steps=2, learning_rate=1e-2)
    train("fake", phase.model, phase.loss, settings, tmp_path)
    assert all(torch.equal(value, before[k]) for k, value in models.teacher.state_dict().items())


@pytest.mark.parametrize("rank", [0, 2])
def test_activations_are_computed_again_where_the_students_are(rank):
    models = tiny_models()
    _, (phase,) = loss_of(models, lora_rank=rank)
    micro_batch = replace(MICRO_BATCH, phase=phase.name)

    def gradients() -> list[torch.Tensor]:
        trained = [p for p in phase.model.parameters() if p.requires_grad]
        return list(torch.autograd.grad(phase.loss(micro_batch)["loss"], trained))

    kept = gradients()
    models.student.gradient_checkpointing = True
    again = DistributionMatching(lora_rank=rank).make_critic(models, seed=0)
    assert again.gradient_checkpointing
    assert not phase.model.gradient_checkpointing
    phase.model.gradient_checkpointing = True
    for first, second in zip(kept, gradients(), strict=True):
        torch.testing.assert_close(first, second)


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
