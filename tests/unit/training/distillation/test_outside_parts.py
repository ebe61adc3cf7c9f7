"""An objective, a reward and a clip source from outside the package, named as MODULE:NAME."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="needs the extra train")

from hummingbird_core.errors import InputError
from hummingbird_core.training.data.registry import has_no_files, open_source
from hummingbird_core.training.distillation.distil import distil
from hummingbird_core.training.distillation.recipe import (
    DataConfig,
    changed_keys,
    read_recipe,
    write_recipe,
)
from hummingbird_core.training.loop.progress import read_losses
from hummingbird_core.training.rewards import load_reward

MODULE = '''
from dataclasses import dataclass

import torch

from hummingbird_core.training.data.batch import ClipBatch
from hummingbird_core.training.distillation.step import Objective


@dataclass(frozen=True, kw_only=True)
class AbsoluteError(Objective):
    """Mean of |eps_s - eps_T| ** power."""

    power: float = 1.0

    def loss(self, step):
        return (step.student.eps - step.teacher.eps).abs().pow(self.power).mean()


class Brightness:
    """A reward for light frames, less a threshold."""

    name = "brightness"

    def __init__(self, threshold="0"):
        self.threshold = float(threshold)

    def __call__(self, frames, captions, generator):
        return frames.mean(dim=(1, 2, 3, 4)) - self.threshold

    def frames_needed(self, num_frames, generator):
        return torch.arange(num_frames)


class Noise:
    """Clips of noise, one for every caption."""

    def __init__(self, clips, frames):
        self.shape = (4, clips.num_frames, frames.height // 8, frames.width // 8)

    def batch(self, step, *, size, rank=0, world_size=1):
        generator = torch.Generator().manual_seed(step * world_size + rank)
        latents = torch.randn(size, *self.shape, generator=generator)
        return ClipBatch(latents, ["a red circle moves right"] * size, torch.full((size,), 8.0))


def noise_clips(clips, frames, vae):
    return Noise(clips, frames)


def no_clips(clips, frames, vae):
    return None


class NoObjective:
    pass
'''
SMALL = ["training.steps=2", "training.batch=1", "training.validate_every=0", "training.warmup=0"]
SMALL += ["data.num_frames=2", "validation.prompts=[]"]
OUTSIDE = ["objectives.l1.kind=outside_parts:AbsoluteError", "objectives.l1.power=1.5"]
OUTSIDE += ["objectives.rewards={light: {kind: 'outside_parts:Brightness', weights: '0.5'}}"]
OUTSIDE += ["data.source=outside_parts:noise_clips"]


@pytest.fixture(autouse=True)
def outside_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "outside_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)


def test_one_of_each_trains(tmp_path):
    recipe = read_recipe("nano-distil", [*SMALL, *OUTSIDE])
    distil("nano-teacher", "hummingbird-nano", None, recipe, tmp_path / "run")
    lines = read_losses(tmp_path / "run" / "distil.losses.jsonl")
    assert [{"output_kd", "l1", "light"} <= line.keys() for line in lines] == [True, True]
    assert all(line["l1"] > 0 for line in lines)
    again = read_recipe(tmp_path / "run" / "recipe.yaml")
    assert again == recipe
    assert changed_keys(
        again, read_recipe("nano-distil", [*SMALL, *OUTSIDE, OUTSIDE[1] + "5"])
    ) == ["objectives.l1.power"]


def test_an_objective_can_be_left_out(tmp_path):
    recipe = read_recipe("nano-distil", [*OUTSIDE, "objectives.l1=null"])
    assert recipe.objectives.terms.keys() == {"output_kd"}
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("objectives.mine={weight: 2}", "got key 'mine' in recipe .*or add kind: MODULE:NAME"),
        ("objectives.mine.kind=nowhere:Mine", "got objective 'nowhere:Mine', expected MODULE"),
        ("objectives.mine.kind=outside_parts:Mine", "got objective 'outside_parts:Mine', expected"),
        ("objectives.mine.kind=outside_parts:NoObjective", "expected a dataclass derived from"),
        (
            "objectives.mine={kind: 'outside_parts:AbsoluteError', powr: 2}",
            "got key 'powr' in recipe nano-distil: objectives: mine, .* did you mean power",
        ),
        ("objectives.rewards.output_kd.kind=shapes", "got output_kd as an objective and a reward"),
    ],
)
def test_bad_objectives(change, message):
    with pytest.raises(InputError, match=message):
        read_recipe("nano-distil", [change])


def test_rewards_from_outside():
    assert load_reward("outside_parts:Brightness").threshold == 0
    with pytest.raises(InputError, match="got reward 'outside_parts:Darkness', expected MODULE"):
        load_reward("outside_parts:Darkness")
    with pytest.raises(InputError, match="got NoObjective from the reward outside_parts:NoObj"):
        load_reward("outside_parts:NoObjective")


def test_clip_sources_from_outside(tmp_path):
    data = DataConfig()
    settings = (None, tmp_path, data.frames, data.clips(4, seed=0))
    assert has_no_files("outside_parts:noise_clips")
    assert not has_no_files(tmp_path)
    batch = open_source("outside_parts:noise_clips", *settings).batch(0, size=2)
    assert batch.latents.shape == (2, 4, 4, data.height // 8, data.width // 8)
    with pytest.raises(InputError, match="got clip source 'outside_parts:clips', expected MODULE"):
        open_source("outside_parts:clips", *settings)
    with pytest.raises(InputError, match="got NoneType from the clip source outside_parts:no_c"):
        open_source("outside_parts:no_clips", *settings)


def test_a_run_without_clips_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"got no clips, .*give --data"):
        distil("nano-teacher", "hummingbird-nano", None, read_recipe("nano-distil"), tmp_path)
