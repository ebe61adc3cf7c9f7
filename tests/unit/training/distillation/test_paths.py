"""The teacher's paths: made once, resumed, and read back as pairs of noise and end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_training import tiny_models
from torch import nn

from hummingbird_core.errors import CheckpointError, InputError
from hummingbird_core.sampling.schedule import add_noise, alpha_sigma, scale_latents
from hummingbird_core.training.data.nano_clips import NanoClips
from hummingbird_core.training.distillation.losses import PathKD
from hummingbird_core.training.distillation.noise import NoiseConfig, x0_to_eps
from hummingbird_core.training.distillation.paths import (
    FILE_PATHS,
    PathConfig,
    PathLoss,
    make_paths,
    path_file,
)
from hummingbird_core.training.distillation.predictions import Conditions
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.distillation.step import Step
from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.loop.trainer import train

NOISE = NoiseConfig(samples="teacher_path", guidance=(1.0, 9.0))
SMALL = PathConfig(count=2 * FILE_PATHS, timesteps=(999, 879, 759, 519, 279))


@pytest.fixture(scope="module")
def models():
    return tiny_models()


def make(models, folder, settings=SMALL, noise=NOISE):
    return make_paths(
        models, NanoClips(2), noise, settings, folder, seed=3, teacher_hash="of the teacher"
    )


@pytest.fixture(scope="module")
def paths(models, tmp_path_factory):
    return make(models, tmp_path_factory.mktemp("paths"))


def test_a_path_starts_at_pure_noise_and_its_states_lead_to_its_end(models, paths):
    """From a stored state the teacher arrives at the stored end, in the steps that are left."""
    micro_batch = MicroBatch(seed=0, step=0, size=6)
    batch = paths.batch(micro_batch)
    context = models.text_encoder.encode(batch.captions).embeddings
    for n in range(6):
        one = slice(n, n + 1)
        part = Conditions(context[one], models.null_context, batch.fps[one], batch.w[one])
        step = Step(micro_batch, models, NOISE, batch.sample[one], batch.t[one], part, [])
        left = SMALL.timesteps[SMALL.timesteps.index(int(batch.t[n])) :]
        end = step.teacher_states(left)[-1]
        scale = batch.end[one].abs().max()
        torch.testing.assert_close(end / scale, batch.end[one] / scale, atol=5e-3, rtol=0)
        if batch.t[n] == 999:
            assert float(batch.sample[n].std()) == pytest.approx(1, abs=0.1)


class OneClip(nn.Module):
    """The exact noise of a single clip, times s_t as in VideoCrafter2; text says nothing."""

    def __init__(self, clip: torch.Tensor, *, rescaled: bool):
        super().__init__()
        self.clip, self.rescaled = clip, rescaled

    def forward(self, sample, t, context, fps):
        clip = self.clip.expand_as(sample)
        return x0_to_eps(scale_latents(clip, t) if self.rescaled else clip, sample, t)


def first_step(models, clip, noise, *, rescaled):
    """Return a step at t = 999 with a teacher that knows one clip."""
    w = torch.ones(1)
    return Step(
        MicroBatch(seed=0, step=0),
        replace(models, teacher=OneClip(clip, rescaled=rescaled)),
        replace(NOISE, dynamic_rescale=rescaled),
        noise,
        torch.tensor([999]),
        Conditions(models.null_context, models.null_context, w, w),
        ["a red circle"],
    )


def test_paths_of_a_rescaled_teacher_are_those_of_the_students_sampling(models):
    """They had contrasts of 0.7 that the student's own samples do not have."""
    clip, noise = torch.randn(2, 1, 4, 2, 3, 3)
    step = first_step(models, clip, noise, rescaled=True)
    *states, end = step.teacher_states(SMALL.timesteps)
    torch.testing.assert_close(end, clip, atol=1e-4, rtol=0)
    eps = (noise - alpha_sigma(999, clip)[0] * 0.7 * clip) / alpha_sigma(999, clip)[1]
    for t, state in list(zip(SMALL.timesteps, states, strict=True))[1:]:
        torch.testing.assert_close(state, add_noise(clip, eps, t), atol=1e-4, rtol=0)


def test_steps_below_the_last_timestep_keep_noise_and_clip(models):
    clip, noise = torch.randn(2, 1, 4, 2, 3, 3)
    step = first_step(models, clip, noise, rescaled=False)
    first, *states, end = step.teacher_states(SMALL.timesteps, terminal_steps=3)
    assert torch.equal(first, noise)
    torch.testing.assert_close(end, clip, atol=1e-4, rtol=0)
    for t, state in zip(SMALL.timesteps[1:], states, strict=True):
        torch.testing.assert_close(state, add_noise(clip, noise, t), atol=1e-4, rtol=0)


def test_batches_are_functions_of_the_step(paths):
    first, again = (paths.batch(MicroBatch(seed=0, step=5, size=4)) for _ in range(2))
    assert torch.equal(first.sample, again.sample)
    assert first.captions == again.captions
    drawn = torch.cat([paths.batch(MicroBatch(seed=0, step=s, size=8)).t for s in range(40)])
    assert set(drawn.tolist()) == {999, 759, 519, 279}
    assert float((drawn == 999).float().mean()) == pytest.approx(0.4, abs=0.1)


def test_only_missing_files_are_made_again(models, paths, tmp_path):
    made = make(models, tmp_path)
    first, second = (path_file(made.folder, n) for n in range(2))
    content, time = load_file(first), second.stat().st_mtime_ns
    first.unlink()
    assert make(models, tmp_path).folder == made.folder
    again = load_file(first)
    assert all(torch.equal(again[name], value) for name, value in content.items())
    assert second.stat().st_mtime_ns == time
    longer = make(models, tmp_path, replace(SMALL, count=3 * FILE_PATHS))  # goes on
    assert longer.folder == made.folder
    other = make(models, tmp_path, noise=replace(NOISE, guidance=(2.0, 3.0)))
    assert other.folder != made.folder


def test_a_damaged_file_is_named(models, tmp_path):
    made = make(models, tmp_path, replace(SMALL, count=FILE_PATHS))
    path_file(made.folder, 0).write_bytes(b"not a file")
    with pytest.raises(CheckpointError, match=r"000000\.safetensors.*delete the file"):
        made.batch(MicroBatch(seed=0, step=0, size=1))


@pytest.mark.parametrize("metadata", [None, {"captions": "["}, {"captions": "[]", "loop": "True"}])
def test_a_file_without_captions_is_named(models, tmp_path, metadata):
    made = make(models, tmp_path, replace(SMALL, count=FILE_PATHS))
    file = path_file(made.folder, 0)
    save_file(load_file(file), file, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"000000\.safetensors.*delete the file"):
        made.batch(MicroBatch(seed=0, step=0, size=1))


def test_paths_beyond_the_limit_are_refused_before_work_starts(models, tmp_path):
    with pytest.raises(InputError, match="max_gigabytes"):
        make(models, tmp_path, replace(SMALL, max_gigabytes=1e-6))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_student_learns_the_ends_of_paths(paths, tmp_path):
    """And so that different noise leads to different ends: no mean of all clips has this loss."""
    models = tiny_models()
    loss = PathLoss(paths, models, {"path_kd": PathKD()}, NOISE)
    micro_batch = MicroBatch(seed=0, step=1000, size=16)
    with torch.no_grad():
        before = float(loss(micro_batch)["path_kd"])
    settings = TrainConfig(steps=40, learning_rate=3e-3, batch=8)
    train("paths", models.student, loss, settings, tmp_path)
    with torch.no_grad():
        assert float(loss(micro_batch)["path_kd"]) < 0.8 * before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["noise.samples=teacher_path"], "teacher_path without paths"),
        (["paths.count=16"], "data with paths"),
        (["noise.samples=teacher_path", "paths.count=17"], "a multiple of 16"),
        (["noise.samples=teacher_path", "paths.timesteps=[999, 19]"], r"also \[279, 519, 759\]"),
        (["noise.samples=teacher_path", "paths.timesteps=[759, 999]"], "fall from 999"),
    ],
)
def test_recipes_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        read_recipe("distil-0.7b", changes)


def test_folders_of_older_runs_keep_their_names(models, tmp_path):
    """Those were guided from pure noise on, which is still the default."""
    noise = replace(NOISE, cfg_start_timestep=500)
    folders = [
        make(models, tmp_path, replace(SMALL, count=FILE_PATHS), settings).folder
        for settings in (noise, replace(noise, cfg_stop_timestep=760))
    ]
    assert folders[0].name == "9dcc79cc6eb7a660"
    assert folders[1] != folders[0]
