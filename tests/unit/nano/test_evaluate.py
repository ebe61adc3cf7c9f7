"""The evaluation of the built-in model, on clips that are drawn and so known exactly."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import islice

import pytest
from support.drawing_pipeline import DrawingPipeline
from support.shape_clips import frames_of

from hummingbird_core.nano.evaluate import (
    EVALUATION_SEED,
    JOINT,
    PAIRS,
    Accuracy,
    NanoEvaluation,
    accuracy_table,
    check,
    evaluate_nano,
)
from hummingbird_core.nano.readers.scene import SceneReading, read_scene
from hummingbird_core.nano.world.captions import Mention, Said
from hummingbird_core.nano.world.looks import Look
from hummingbird_core.nano.world.paths import NANO_FPS, Clip, Path
from hummingbird_core.nano.world.places import plain_background
from hummingbird_core.nano.world.scene import Scene, Subject
from hummingbird_core.nano.world.stream import HELD_OUT, samples

SQUARE = Mention("square", "blue", "small", "left", "slowly")
CIRCLE = Mention("circle", "red", motion="right")
SAID = Said((SQUARE,), tone="dark")


def dark_scene(*subjects: Subject) -> Scene:
    return Scene(subjects, plain_background(random.Random(0), "dark"), Clip(), tone="dark")


@pytest.fixture(scope="module")
def seen() -> SceneReading:
    """Return what is read from a video that shows `SAID`."""
    square = Subject(Look("square", "blue"), Path("left", (40.0, 30.0), speed=5.0), 12.0)
    return read_scene(frames_of(dark_scene(square)), NANO_FPS)


def wrong(said: Said, seen: SceneReading) -> set[str]:
    return {kind for kind, right in check(said, seen) if not right}


def test_all_that_a_right_video_shows_is_right(seen):
    assert dict(check(SAID, seen)) == dict.fromkeys(
        ("count", "place", "camera", "tone", "subject", "color", "motion", "size", "pace"), True
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("subject", "triangle"),
        ("color", "red"),
        ("size", "big"),
        ("motion", "right"),
        ("pace", "quickly"),
    ],
)
def test_a_wrong_statement_about_a_subject_is_found(seen, kind, value):
    said = replace(SAID, mentions=(replace(SQUARE, **{kind: value}),))
    assert wrong(said, seen) == {kind}


@pytest.mark.parametrize(
    ("kind", "value"), [("place", "sea"), ("tone", "light"), ("camera", "pan up")]
)
def test_a_wrong_statement_about_the_scene_is_found(seen, kind, value):
    assert wrong(replace(SAID, **{kind: value}), seen) == {kind}


def test_what_is_not_said_is_not_checked(seen):
    kinds = [kind for kind, _ in check(Said((Mention("square"),)), seen)]
    assert kinds == ["count", "place", "camera", "subject"]


def test_a_subject_that_is_missing_is_wrong_in_all(seen):
    both = Said((SQUARE, CIRCLE), tone="dark")
    assert wrong(both, seen) == {"count", "subject", "color", "motion"}
    assert wrong(SAID, replace(seen, subjects=())) == {"count", "subject"} | {
        *("color", "motion", "size", "pace")
    }


def test_of_two_subjects_each_is_found_by_its_look():
    subjects = (
        Subject(Look("circle", "red"), Path("right", (20.0, 16.0), speed=8.0), 12.0),
        Subject(Look("square", "blue"), Path("left", (44.0, 48.0), speed=5.0), 12.0),
    )
    seen = read_scene(frames_of(dark_scene(*subjects)), NANO_FPS)
    assert not wrong(Said((SQUARE, CIRCLE), tone="dark"), seen)
    assert not wrong(Said((CIRCLE, SQUARE), tone="dark"), seen)


@pytest.mark.parametrize("held_out", HELD_OUT)
def test_drawn_clips_are_right(held_out):
    stream = islice(samples(EVALUATION_SEED, held_out=held_out), 4)
    scenes = {text: scene for scene, _, text in stream}
    pipe = DrawingPipeline(scenes.__getitem__)
    found = evaluate_nano(pipe, 4, held_out=held_out, batch=3)
    assert pipe.prompts == list(scenes)
    assert found.accuracies[JOINT] == Accuracy(4, 4)
    assert found.distance < 0.15
    assert found.farthest[1] < 0.25


def test_videos_are_counted_by_what_they_should_show(seen):
    found = NanoEvaluation()
    found.add(SAID, seen)
    found.add(replace(SAID, tone="light"), seen)
    found.add(Said((SQUARE, CIRCLE)), seen)
    accuracies = found.accuracies
    assert accuracies["tone"] == Accuracy(1, 2)
    assert accuracies["subject"] == Accuracy(3, 4)  # of subjects, not of videos
    assert accuracies[JOINT] == Accuracy(1, 3)
    assert accuracies[PAIRS] == Accuracy(0, 1)
    assert set(found.distances) == {"square"}


def test_the_table_has_a_column_for_each_evaluation(seen):
    right, pair = NanoEvaluation(), NanoEvaluation()
    right.add(SAID, seen)
    pair.add(Said((SQUARE, CIRCLE)), seen)
    rows = [row.split(" | ") for row in accuracy_table({"one": right, "two": pair}).splitlines()]
    assert rows[0] == ["| right (95 % interval)", "one", "two |"]
    cells = {row[0].removeprefix("| "): row[1:] for row in rows[2:]}
    assert cells["tone"] == ["100.0% (20.7% to 100.0%)", "- |"]
    assert cells[PAIRS][0] == "-"
    assert "(square)" in cells["of the farthest subject"][0]


def test_a_model_that_shows_nothing_has_no_distance():
    assert math.isnan(NanoEvaluation().distance)
    assert NanoEvaluation().farthest[0] == ""


def test_wilson_interval():
    low, high = Accuracy(196, 200).interval  # value of the published formula
    assert (round(low, 4), round(high, 4)) == (0.9497, 0.9922)
    assert Accuracy(200, 200).interval[1] == 1.0
