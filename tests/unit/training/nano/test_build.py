"""Building the built-in model: latents, clips, frames, and all stages in a few steps."""

from __future__ import annotations

import json

import pytest
import torch
from support.command_line import run

from hummingbird_core.checkpoints import load_checkpoint, read_tensors
from hummingbird_core.checkpoints.info import checkpoint_info
from hummingbird_core.errors import InputError
from hummingbird_core.hub.local import resolve_model
from hummingbird_core.nano.latents import image_latents
from hummingbird_core.nano.world.paths import NANO_FPS
from hummingbird_core.nano.world.stream import is_held_out, single_frames
from hummingbird_core.training.data.batch import batch_of
from hummingbird_core.training.data.nano_clips import FPS_RANGE, LOOP_EVERY, NanoClips
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.loop.student_file import write_student
from hummingbird_core.training.nano import build as making
from hummingbird_core.training.nano.autoencoder import build_vae, perturbed
from hummingbird_core.training.nano.teacher import (
    NanoTeacherLoss,
    clip_length,
    copy_matching,
    zero_residual_branches,
)
from hummingbird_core.training.nano.text import CONTEXT_DIM, build_text_encoder
from hummingbird_core.training.pruning.rank_blocks import RankConfig
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

STAGES = ("vae", "text", "teacher", "student")


def test_the_text_encoder_reads_many_wordings_as_one():
    """That of the built-in model, which `train_text_encoder` made."""
    encoder = load_checkpoint(resolve_model("nano")).text_encoder
    left, leftwards, right = encoder.encode(
        ["a red circle moves left", "one red circle drifts leftwards", "a red circle moves right"]
    ).embeddings.mean(dim=1)
    assert torch.cosine_similarity(left, leftwards, 0) > torch.cosine_similarity(left, right, 0)


@pytest.mark.parametrize("num_frames", [4, 16, 26])
def test_clips_are_seeded_and_never_use_held_out_captions(num_frames):
    clips = NanoClips(num_frames)
    batch, again = clips.batch(3, size=8), clips.batch(3, size=8)
    assert batch.captions == again.captions
    assert torch.equal(batch.latents, again.latents)
    assert batch.latents.shape == (8, 4, num_frames, 8, 8)
    assert not any(map(is_held_out, batch.captions))


@pytest.mark.parametrize("num_frames", [4, 16, 26])
def test_clips_come_in_all_frame_rates_and_the_usual_one_most(num_frames):
    rates = NanoClips(num_frames).batch(0, size=64).fps
    seconds = min(num_frames / 16, 1)  # fewer frames show as much time
    low, high = (rate * seconds for rate in FPS_RANGE)
    assert low <= rates.min() < 1.5 * low
    assert high / 1.5 < rates.max() <= high
    assert (rates == NANO_FPS * seconds).float().mean().item() == pytest.approx(0.4, abs=0.2)


def test_the_clips_of_every_sixth_step_loop():
    clips = NanoClips(8)
    loops = [clips.batch(step, size=1).loop for step in range(2 * LOOP_EVERY)]
    assert loops == ([False] * (LOOP_EVERY - 1) + [True]) * 2
    assert not NanoClips(8, loops=False).batch(LOOP_EVERY - 1, size=1).loop


def test_the_last_frame_of_a_loop_is_followed_by_its_first():
    looped = NanoClips(16).batch(LOOP_EVERY - 1, size=16).latents
    steps = looped.diff(dim=2).abs().mean(dim=(0, 1, 3, 4))  # [T - 1]
    seam = (looped[:, :, 0] - looped[:, :, -1]).abs().mean()
    assert seam < 1.2 * steps.max()


def test_a_share_of_the_clips_has_no_text():
    told, silent = NanoClips(1), NanoClips(1, caption_dropout=0.5)
    pairs = zip(told.batch(0, size=200).captions, silent.batch(0, size=200).captions, strict=True)
    left_out = [heard == "" for said, heard in pairs if heard in ("", said)]
    assert len(left_out) == 200
    assert sum(left_out) == pytest.approx(100, abs=25)


def test_latents_have_a_bit_more_than_half_unit_deviation():
    assert NanoClips(8).batch(1, size=16).latents.std().item() == pytest.approx(0.6, abs=0.1)


def test_picture_latents_are_cell_colours_and_edges():
    frame = torch.full((1, 3, 16, 16), -1.0)
    frame[:, 0, :8, :8] = 1.0  # one red cell, and one that is half white
    frame[:, :, 8:, 8:12] = 1.0
    latents = image_latents(frame)
    assert latents.shape == (1, 4, 2, 2)
    torch.testing.assert_close(latents[0, :3, 0, 0], torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(latents[0, :3, 1, 1], torch.zeros(3))
    plain, edge = latents[0, 3, 0, 0], latents[0, 3, 1, 1]
    assert edge > plain + 2
    torch.testing.assert_close(plain, latents[0, 3, 0, 1])


def test_every_seed_has_a_picture_of_its_own():
    pictures = single_frames([5, 6])
    assert pictures.shape == (2, 3, 64, 64)
    assert torch.equal(single_frames([6])[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[1])
    assert pictures.min() >= -1


def test_the_decoders_latents_are_noisy_up_to_a_limit():
    latents = torch.zeros(400, 4, 4, 4)
    std = perturbed(latents, 0.1, MicroBatch(seed=0, step=0, size=400)).flatten(1).std(dim=1)
    assert std.mean() == pytest.approx(0.05, abs=0.01)
    assert 0.08 < std.max() < 0.13


def test_vae_has_the_layout_of_the_released_ones():
    assert 2 ** (len(build_vae().config.block_out_channels) - 1) == 8
    assert build_vae().config.latent_channels == 4


# --- the teacher ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def teacher() -> HummingbirdUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HummingbirdUNet(UNetConfig.from_preset("nano-teacher"))


def test_clips_get_longer():
    lengths = [clip_length(step, 100) for step in range(100)]
    assert [lengths.count(n) for n in (8, 16, 26)] == [60, 26, 14]
    assert lengths[:60] == [8] * 60


@torch.no_grad()
def test_the_teachers_loss_does_not_depend_on_who_computes_it(teacher):
    loss = NanoTeacherLoss(teacher, build_text_encoder().eval(), steps=10)
    for step in (0, 9):
        whole = loss(MicroBatch(seed=0, step=step, size=2))["noise"]
        halves = [loss(MicroBatch(seed=0, step=step, index=i, count=2))["noise"] for i in range(2)]
        torch.testing.assert_close(torch.stack(halves).mean(), whole)


def test_a_step_of_short_clips_costs_as_much_as_one_of_long_ones(teacher):
    sizes = []
    handle = teacher.register_forward_hook(lambda m, inputs, out: sizes.append(tuple(out.shape)))
    with torch.no_grad():
        for step in (0, 7, 9):
            NanoTeacherLoss(teacher, build_text_encoder(), steps=10)(MicroBatch(seed=0, step=step))
    handle.remove()
    assert sizes == [(2, 4, 8, 8, 8), (1, 4, 16, 8, 8), (1, 4, 26, 8, 8)]


def test_a_new_teacher_predicts_nothing_yet(teacher):
    zero_residual_branches(teacher)
    batch = batch_of(NanoClips(2), MicroBatch(seed=0, step=0))
    context = torch.randn(1, 77, CONTEXT_DIM)
    with torch.no_grad():
        first = teacher(batch.latents, 500, context)
        assert torch.equal(first, teacher(batch.latents, 500, 2 * context))


# --- the file ------------------------------------------------------------------------------------


def test_a_file_names_the_version_of_its_weights_and_its_students_do_not(tmp_path, capsys):
    nano = load_checkpoint(resolve_model("nano"))
    path, student = tmp_path / "nano.safetensors", tmp_path / "student.safetensors"
    making.save_model(path, nano.unet, nano.vae, nano.text_encoder)
    write_student(nano.unet, path, student)
    assert f"\nweights version: {making.WEIGHTS_VERSION}\n" in run(capsys, "info", path)[1]
    assert "weights_version" in checkpoint_info(path)
    assert "weights_version" not in checkpoint_info(student)


def test_the_packaged_files_are_of_one_version(capsys):
    versions = {
        json.loads(run(capsys, "info", name, "--json")[1]).get("weights_version")
        for name in ("nano", "nano-teacher")
    }
    assert versions == {making.WEIGHTS_VERSION}


def test_a_teacher_starts_from_an_earlier_one_where_the_weights_fit(teacher):
    narrow = HummingbirdUNet(UNetConfig.from_preset("nano-teacher", context_dim=64))
    target = HummingbirdUNet(UNetConfig.from_preset("nano-teacher"))
    others = copy_matching(narrow, target)
    assert others
    source = narrow.state_dict()
    for name, weight in target.state_dict().items():
        fits = source[name].shape == weight.shape
        assert (name in others) != fits
        assert not fits or torch.equal(weight, source[name])
    with pytest.raises(InputError, match="without a single weight"):
        copy_matching(torch.nn.Linear(2, 2), target)


# --- the whole way -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_whole_recipe_runs_and_resumes(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(making, "RANKING", RankConfig(clips=1, frames=2, metric="none"))
    few_paths = "paths.count=16"
    monkeypatch.setattr(
        making, "read_recipe", lambda name, more: read_recipe(name, [*more, few_paths])
    )
    steps = [text for stage in STAGES for text in (f"--{stage}-steps", 2)]
    command = ("train", "nano", "--folder", tmp_path, "-o", tmp_path / "copies", *steps)
    command = (*command, "--initial", "nano-teacher")
    assert run(capsys, *command)[0] == 0
    file = tmp_path / "hummingbird-nano.safetensors"
    first = read_tensors(file)
    assert (tmp_path / "copies" / file.name).read_bytes() == file.read_bytes()
    file.unlink()  # only the last stage is run again, and finds its state
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.state.pt")}
    assert run(capsys, *command)[0] == 0
    again = read_tensors(file)
    assert again.keys() == first.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.state.pt")} == times
    checkpoint = load_checkpoint(file)
    assert checkpoint.preset == "hummingbird-nano"
    assert checkpoint.vae.config.scaling_factor > 0
    assert "| published map |" in (tmp_path / "blocks.md").read_text()
    teacher = load_checkpoint(tmp_path / "nano-teacher.safetensors")
    assert not teacher.unet.config.guidance_embedding
