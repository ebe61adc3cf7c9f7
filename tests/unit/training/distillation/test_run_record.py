"""Where a run goes on: what may change between two starts, and what is refused."""

from __future__ import annotations

import logging

import pytest

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
    with pytest.raises(InputError, match=r"got another student .* \(hummingbird-nano\): choose"):
        start(begun, student="nano")


def test_another_teacher_or_source_is_refused(begun):
    provenance = provenance_of(resolve_model("nano-teacher"), "hummingbird-nano", "nano")
    state = state_path(begun, "tune")
    RunRecord(begun, state, provenance).check(recipe())
    for name in ("teacher", "data"):
        with pytest.raises(InputError, match=f"got another {name} for the run in"):
            RunRecord(begun, state, {**provenance, name: "other"}).check(recipe())


def test_a_copy_of_the_teacher_is_the_same_teacher(tmp_path):
    file = resolve_model("nano-teacher")
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(file.read_bytes())
    assert provenance_of(file, "nano", "clips") == provenance_of(copy, "nano", "clips")


def test_the_first_recipe_is_kept_and_every_later_start_compared_to_it(begun, caplog):
    before = (begun / "recipe.yaml").read_text()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            start(begun, weight_decay=0.5)
    assert caplog.text.count("began with another training.weight_decay") == 2
    assert (begun / "recipe.yaml").read_text() == before


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
