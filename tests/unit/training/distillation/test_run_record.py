"""Where a run goes on: what may change between two starts, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("accelerate", reason="needs the extra train")

from hummingbird_core.errors import InputError
from hummingbird_core.hub.local import resolve_model
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.distillation.run_record import RunRecord, provenance_of
from hummingbird_core.training.distillation.stage import load_student, load_teacher, train_student
from hummingbird_core.training.loop.state import state_path

SMALL = ["training.steps=1", "training.batch=1", "training.validate_every=0"]
SMALL += ["data.num_frames=2", "objectives.rewards={}"]


def recipe(*changes: str):
    return read_recipe("nano-tune", [*SMALL, *changes])


def start(folder, student="hummingbird-nano", data="nano", **changes):
    teacher = load_teacher("nano-teacher")
    settings = recipe(*(f"training.{key}={value}" for key, value in changes.items()))
    fresh = load_student(student, teacher, settings)
    return train_student("tune", fresh, student, teacher, data, settings, folder, None)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    start(folder)
    return folder


def test_another_student_is_not_trained_further(begun):
    """It was not trained at all: the first one's weights were written again."""
    named = (
        r"got another student \(nano, sha256 \w{8}\) for the run .* \(hummingbird-nano\): choose"
    )
    with pytest.raises(InputError, match=named):
        start(begun, student="nano")


def test_another_teacher_or_source_is_refused(begun):
    provenance = provenance_of(resolve_model("nano-teacher"), "hummingbird-nano", "nano")
    state = state_path(begun, "tune")
    RunRecord(begun, state, provenance).check(recipe())
    for name in ("teacher", "data"):
        with pytest.raises(InputError, match=rf"got another {name} \(.*\) for the run in"):
            RunRecord(begun, state, {**provenance, name: "other"}).check(recipe())


def test_a_copy_of_the_teacher_is_the_same_teacher(tmp_path):
    file = resolve_model("nano-teacher")
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(file.read_bytes())
    original = provenance_of(file, "nano", "clips")
    RunRecord(tmp_path, state_path(tmp_path, "tune"), original).keep(recipe())
    (tmp_path / "tune.state.pt").touch()
    torch.save({"step": 1}, tmp_path / "tune.state.pt")
    again = provenance_of(copy, "nano", "clips")
    assert again != original  # the names are kept for readers
    RunRecord(tmp_path, state_path(tmp_path, "tune"), again).check(recipe())


def test_the_records_say_which_recipe_holds_from_which_step(tmp_path, caplog):
    def start_at(step: int, **changes) -> str:
        """Do what a start does with a state of this number of steps; return its warnings."""
        caplog.clear()
        torch.save({"step": step}, record.state)
        new = recipe(*(f"training.{key}={value}" for key, value in changes.items()))
        record.check(new)
        record.keep(new)
        return caplog.text

    record = RunRecord(tmp_path, state_path(tmp_path, "tune"), {"data": "nano"})
    record.keep(recipe())
    first = (tmp_path / "recipe.yaml").read_text()
    assert not start_at(200)
    changed = start_at(500, weight_decay=0.5)
    assert "resumes with another training.weight_decay from step 500 on" in changed
    assert not start_at(600, weight_decay=0.5)
    assert "another training.weight_decay from step 700 on" in start_at(700)
    assert "another training.batch from step 700 on" in start_at(700, batch=2)
    assert (tmp_path / "recipe.yaml").read_text() == first
    recorded = {path.name: read_recipe(path).training for path in tmp_path.glob("recipe*.yaml")}
    assert sorted(recorded) == ["recipe-000500.yaml", "recipe-000700.yaml", "recipe.yaml"]
    assert recorded["recipe-000500.yaml"].weight_decay == 0.5
    assert recorded["recipe-000700.yaml"].weight_decay == recipe().training.weight_decay
    assert recorded["recipe-000700.yaml"].batch == 2


def test_a_run_that_starts_again_forgets_the_recipes_of_the_one_before(tmp_path):
    record = RunRecord(tmp_path, state_path(tmp_path, "tune"), {"data": "nano"})
    record.keep(recipe())
    torch.save({"step": 5}, record.state)
    record.keep(recipe("training.weight_decay=0.5"))
    record.state.unlink()
    record.keep(recipe("training.weight_decay=0.25"))
    (path,) = tmp_path.glob("recipe*.yaml")
    assert read_recipe(path).training.weight_decay == 0.25


def test_states_of_older_versions_name_their_models_by_hash(tmp_path):
    """Their records hold no names."""
    record = RunRecord(tmp_path, state_path(tmp_path, "tune"), {"student": "b" * 64})
    torch.save({"step": 5}, record.state)
    (tmp_path / "origins.json").write_text(json.dumps({"student": "a" * 64}))
    with pytest.raises(InputError, match=f"begun with \\({'a' * 64}\\)"):
        record.check(recipe())


def test_a_refused_start_leaves_no_recipe(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        start(tmp_path, data=tmp_path / "nowhere")
    assert not (tmp_path / "recipe.yaml").exists()
    start(tmp_path, weight_decay=0.25)
    assert read_recipe(tmp_path / "recipe.yaml").training.weight_decay == 0.25


def test_nanos_world_and_range_are_for_the_nano_family(tmp_path):
    teacher = load_teacher("nano-teacher")
    teacher.vae.register_to_config(latents_are_images=False)  # as VideoCrafter2's
    student = load_student("nano", teacher, recipe())
    for data, message in (("nano", "got data nano for nano-teacher"), (tmp_path, "clip_denoised")):
        with pytest.raises(InputError, match=message):
            train_student("tune", student, "nano", teacher, data, recipe(), tmp_path, None)
