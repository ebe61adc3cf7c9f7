"""Density and coverage of drawn clips: of all of the world, and of a part of it."""

from __future__ import annotations

import pytest

from hummingbird_core.nano.coverage import coverage_of, drawn_readings, features
from hummingbird_core.nano.readers.scene import SceneReading

COUNT = 24


@pytest.fixture(scope="module")
def world() -> list[SceneReading]:
    return drawn_readings(3, COUNT)


def test_the_world_covers_itself_as_two_sets_of_it_do(world):
    found = coverage_of(world)
    # By chance: 1 and 1 - (1/2)^k of infinitely many.
    assert found.density == pytest.approx(1, abs=0.4)
    assert found.coverage > 0.8


def test_a_model_that_makes_one_video_covers_little(world):
    found = coverage_of(world[:1] * COUNT)
    assert found.coverage < 0.4


def test_the_order_of_two_subjects_does_not_count(world):
    pair = next(seen for seen in world if len(seen.subjects) == 2)
    turned = SceneReading(pair.subjects[::-1], pair.place, pair.tone, pair.camera, pair.brightness)
    assert features([pair]).equal(features([turned]))


def test_few_videos_have_no_coverage(world):
    assert coverage_of(world[:5]) is None
