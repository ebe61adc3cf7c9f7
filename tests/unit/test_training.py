"""The training loop and the distillation steps, on networks of a few thousand parameters."""

from __future__ import annotations

import argparse

import pytest
import torch
from torch import nn

from hummingbird_core.checkpoints import load_checkpoint
from hummingbird_core.model_files import find_model
from hummingbird_core.sampling import add_noise, predict_x0
from hummingbird_core.training.consistency import (
    Conditions,
    consistency_pair,
    guided_prediction,
    guided_target,
    predict,
    pseudo_huber,
)
from hummingbird_core.training.diffusion import (
    noise_between,
    noisy_sample,
    sample_timesteps,
    x0_weight,
)
from hummingbird_core.training.loop import Schedule, seeded, train
from hummingbird_core.training.nano import making as nano
from hummingbird_core.training.nano import shapes
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.nano.latents import SCALING_FACTOR, clip_batch, picture_latents
from hummingbird_core.training.nano.shapes import is_held_out
from hummingbird_core.training.pruning.block_map import prune
from hummingbird_core.unet import HummingbirdUNet, UNetConfig


def regression(model: nn.Module):
    def loss(step: int, seed: int) -> dict[str, torch.Tensor]:
        x = torch.randn(8, 4, generator=seeded(seed))
        return {"error": (model(x) - x.sum(1, keepdim=True)).square().mean()}

    return loss


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 1)


def test_training_reaches_its_goal(tmp_path):
    model = linear()
    ema = train("fit", model, regression(model), Schedule(200, 0.05), tmp_path)
    torch.testing.assert_close(ema.weight, torch.ones(1, 4), atol=0.02, rtol=0)


def test_a_resumed_run_equals_an_undisturbed_one(tmp_path):
    schedule = Schedule(20, 0.05, save_every=5)
    straight = linear()
    train("fit", straight, regression(straight), schedule, tmp_path / "straight")

    class KilledError(Exception):
        pass

    stopped = linear()
    loss = regression(stopped)

    def dies_at_13(step: int, seed: int):
        if step == 13:
            raise KilledError
        return loss(step, seed)

    with pytest.raises(KilledError):
        train("fit", stopped, dies_at_13, schedule, tmp_path / "killed")
    resumed = linear()
    train("fit", resumed, regression(resumed), schedule, tmp_path / "killed")
    assert torch.equal(resumed.weight, straight.weight)


@pytest.fixture(scope="module")
def teacher_and_student() -> tuple[HummingbirdUNet, HummingbirdUNet]:
    torch.manual_seed(0)
    teacher = HummingbirdUNet(UNetConfig.from_preset("nano-teacher")).eval()
    student = HummingbirdUNet(UNetConfig.from_preset("hummingbird-nano")).eval()
    prune(teacher, student)
    return teacher.requires_grad_(False), student


def test_pruning_copies_the_blocks_that_stay(teacher_and_student):
    teacher, student = teacher_and_student
    assert torch.equal(student.init_attn[0].proj_in.weight, teacher.init_attn[0].proj_in.weight)
    assert torch.equal(student.input_blocks[4][0].op.weight, teacher.input_blocks[6][0].op.weight)
    assert torch.equal(
        student.output_blocks[5][0].in_layers[2].weight,
        teacher.output_blocks[8][0].in_layers[2].weight,
    )
    assert not student.time_cond_proj.weight.any()


def conditions(batch: int, w: float) -> Conditions:
    context, null = torch.randn(2, batch, 77, 64)
    return Conditions(context, null, torch.full((batch,), 8.0), torch.full((batch,), w))


def test_guidance_of_zero_is_the_plain_prediction(teacher_and_student):
    teacher, _ = teacher_and_student
    sample, t, told = torch.randn(2, 4, 3, 8, 8), torch.tensor([999, 19]), conditions(2, 0.0)
    plain = teacher(sample, t, told.context, fps=told.fps)
    torch.testing.assert_close(guided_prediction(teacher, sample, t, told), plain)


def test_targets_stay_in_the_range_of_pictures(teacher_and_student):
    teacher, _ = teacher_and_student
    sample, t, told = torch.randn(1, 4, 3, 8, 8), torch.tensor([799]), conditions(1, 7.5)
    x0 = predict_x0(sample, guided_target(teacher, sample, t, told), t)
    colours, edges = x0[:, :3], x0[:, 3]
    assert colours.abs().max() < SCALING_FACTOR + 1e-3
    assert -0.7 * SCALING_FACTOR > edges.min() > -0.76 * SCALING_FACTOR
    assert predict_x0(sample, guided_prediction(teacher, sample, t, told), t)[:, :3].max() > 1


def test_consistency_is_the_identity_at_zero_noise(teacher_and_student):
    """At t = 0 the boundary condition makes value and input equal, whatever the network says."""
    teacher, student = teacher_and_student
    latents, noise = torch.randn(2, 2, 4, 3, 8, 8)
    t = torch.zeros(2, dtype=torch.int64)
    value, target = consistency_pair(student, teacher, latents, noise, t, 20, conditions(2, 7.5))
    torch.testing.assert_close(value, add_noise(latents, noise, t))
    assert value.requires_grad
    assert not target.requires_grad


def test_student_learns_from_the_consistency_pair(teacher_and_student):
    teacher, _ = teacher_and_student
    torch.manual_seed(1)
    student = HummingbirdUNet(UNetConfig.from_preset("hummingbird-nano"))
    latents, noise, told = *torch.randn(2, 2, 4, 2, 8, 8), conditions(2, 3.0)
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        value, target = consistency_pair(
            student, teacher, latents, noise, torch.tensor([199, 399]), 20, told
        )
        losses.append(pseudo_huber(value, target))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    with torch.no_grad():
        other_w = predict(student, latents, torch.tensor([199, 399]), conditions(2, 9.0))
    assert other_w.isfinite().all()


def test_timesteps_lean_towards_noise():
    steps = sample_timesteps(4000, seeded(0))
    shares = [(steps == 999).float().mean(), (steps >= 900).float().mean()]
    assert shares == pytest.approx([1 / 8, 2 / 8 + 6 / 8 * 0.1], abs=0.03)
    assert steps.min() < 10  # all are reached
    few = torch.stack([sample_timesteps(1, seeded(seed)) for seed in range(200)])
    assert few.float().median() < 900  # in a process with one clip as well


def test_weighted_noise_error_is_the_error_in_x0():
    x, noise, wrong = torch.randn(3, 1, 4, 2, 4, 4)
    for t in torch.tensor([[500], [700], [999]]):
        error = (predict_x0(x, wrong, t) - predict_x0(x, noise, t)).square().mean()
        torch.testing.assert_close(x0_weight(t)[0] * (wrong - noise).square().mean(), error)


def test_the_last_step_is_trained_on_pure_noise():
    latents, noise = torch.randn(2, 2, 4, 2, 4, 4)
    t = torch.tensor([998, 999])
    sample = noisy_sample(latents, noise, t)
    assert torch.equal(sample[1], noise[1])
    assert torch.equal(sample[0], add_noise(latents, noise, t)[0])
    eps = noise_between(latents, sample, t)
    torch.testing.assert_close(predict_x0(sample, eps, t), latents, atol=1e-4, rtol=0)
    torch.testing.assert_close(eps[0], noise[0])


def test_the_text_encoder_reads_many_wordings_as_one():
    """That of the built-in model, which `train_text_encoder` made."""
    encoder = load_checkpoint(find_model("nano")).text_encoder
    left, leftwards, right = encoder.encode(
        ["a red circle moves left", "one red circle drifts leftwards", "a red circle moves right"]
    ).embeddings.mean(dim=1)
    assert torch.cosine_similarity(left, leftwards, 0) > torch.cosine_similarity(left, right, 0)


@pytest.mark.parametrize("num_frames", [4, 8, 16])
def test_batches_are_seeded_and_never_use_held_out_captions(num_frames):
    batch, again = clip_batch(num_frames, seed=3), clip_batch(num_frames, seed=3)
    assert batch.captions == again.captions
    assert torch.equal(batch.latents, again.latents)
    assert batch.latents.shape == (128 // num_frames, 4, num_frames, 8, 8)
    assert not any(map(is_held_out, batch.captions))
    assert shapes.FPS * num_frames / 16 in batch.fps


def test_picture_latents_are_cell_colours_and_edges():
    frame = torch.full((1, 3, 16, 16), -1.0)
    frame[:, 0, :8, :8] = 1.0  # one red cell, and one that is half white
    frame[:, :, 8:, 8:12] = 1.0
    latents = picture_latents(frame)
    assert latents.shape == (1, 4, 2, 2)
    torch.testing.assert_close(latents[0, :3, 0, 0], torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(latents[0, :3, 1, 1], torch.zeros(3))
    plain, edge = latents[0, 3, 0, 0], latents[0, 3, 1, 1]
    assert edge > plain + 2
    torch.testing.assert_close(plain, latents[0, 3, 0, 1])


def test_training_latents_have_a_bit_more_than_half_unit_deviation():
    assert clip_batch(8, seed=1).latents.std().item() == pytest.approx(0.6, abs=0.1)


@pytest.mark.slow
def test_the_whole_recipe_runs_and_resumes(tmp_path):
    parser = argparse.ArgumentParser()
    nano.add_arguments(parser)
    args = parser.parse_args(
        f"--folder {tmp_path} --vae-steps 2 --text-steps 2 --teacher-steps 2 --student-steps 2 "
        "--consistency-steps 2".split()
    )
    nano.run(args)
    first = (tmp_path / "hummingbird-nano.safetensors").read_bytes()
    nano.run(args)  # nothing left to do
    assert (tmp_path / "hummingbird-nano.safetensors").read_bytes() == first
    checkpoint = load_checkpoint(tmp_path / "hummingbird-nano.safetensors")
    assert checkpoint.preset == "hummingbird-nano"
    assert checkpoint.vae.config.scaling_factor > 0
    teacher = load_checkpoint(tmp_path / "nano-teacher.safetensors")
    assert not teacher.unet.config.guidance_embedding


def test_vae_has_the_layout_of_the_released_ones():
    assert 2 ** (len(build_vae().config.block_out_channels) - 1) == 8
    assert build_vae().config.latent_channels == 4
