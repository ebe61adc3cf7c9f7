"""Captions with times: events in, a prompt over time, its share of clips and windows out."""

from __future__ import annotations

import pytest

from hummingbird_core.errors import InputError
from hummingbird_core.inputs.timed_captions import (
    Event,
    cut_to_clip,
    cut_to_frames,
    events_prompt,
    has_events,
    is_timed,
    prefixed,
    read_events,
    reworded,
    untimed,
)

STORY = "0s: a fox runs; 2.5s: it sleeps; 5s: it wakes"


@pytest.mark.parametrize(
    ("events", "between", "prompt"),
    [
        ([(0, 2.5, "a fox runs"), (2.5, 4, "it sleeps")], "", "0s: a fox runs; 2.5s: it sleeps"),
        ([(2.5, 4, "it sleeps"), (0, 2.5, "a fox")], "", "0s: a fox; 2.5s: it sleeps"),
        ([(1, 2, "a fox runs")], "", "a fox runs"),
        ([(1, 2, "a fox runs")], "snow", "0s: snow; 1s: a fox runs; 2s: snow"),
        ([(1, 2, "a"), (3, 9, "b")], "", "0s: a; 3s: b"),
        ([(0, 4, "a"), (2, 3, "b")], "", "0s: a; 2s: a, b; 3s: a"),
        ([(0, 2, "a"), (2, 4, "a")], "", "a"),
        ([(0, 1 / 3, "a"), (1 / 3, 1, "b")], "", "0s: a; 0.333s: b"),
        ([], "snow", "snow"),
    ],
)
def test_events_are_a_prompt_over_time(events, between, prompt):
    assert events_prompt([Event(*event) for event in events], between) == prompt


def test_an_event_without_an_end_lasts_until_the_next_one_or_for_ever():
    entries = [{"start": 3, "text": "c"}, {"start": 0, "text": "a"}, {"start": 0, "text": "b"}]
    assert events_prompt(read_events(entries, "x"), "z") == "0s: a, b; 3s: c"


def test_texts_cannot_make_other_parts():
    entries = [{"start": 0, "text": "a; 1s: b"}, {"start": 2, "text": "scene 3: c,\n 4: d"}]
    assert events_prompt(read_events(entries, "x")) == "0s: a, 1s b; 2s: scene 3 c, 4 d"


@pytest.mark.parametrize(
    "entry",
    [
        "a fox",
        {"start": 0, "end": 1},
        {"start": 0, "end": 1, "text": "  "},
        {"start": 0, "end": 1, "text": 3},
        {"start": -1, "end": 1, "text": "a"},
        {"start": "0", "end": 1, "text": "a"},
        {"end": 1, "text": "a"},
        {"start": 1, "end": 1, "text": "a"},
        {"start": float("nan"), "end": 1, "text": "a"},
        {"start": float("inf"), "text": "a"},
    ],
)
def test_an_entry_that_is_no_event_is_named(entry):
    with pytest.raises(InputError, match=r"^a\.json has as event 2 .*, expected .*"):
        read_events([{"start": 0, "text": "a"}, entry], "a.json")


def test_too_many_events_are_refused():
    with pytest.raises(InputError, match="1001 events, expected at most 1000"):
        read_events([{}] * 1001, "a.json")


def test_lists_of_texts_are_no_events():
    assert not has_events(["a", "b"])
    assert not has_events("[]")
    assert has_events([{}])


@pytest.mark.parametrize(
    ("first", "count", "stride", "caption"),
    [
        (0, 20, 1, "a fox runs"),
        (0, 40, 1, "0: a fox runs; 20: it sleeps"),
        (10, 20, 2, "0: a fox runs; 5: it sleeps; 15: it wakes"),
        (20, 10, 1, "it sleeps"),
        (21, 40, 1, "0: it sleeps; 19: it wakes"),
        (100, 3, 1, "it wakes"),
    ],
)
def test_a_window_gets_what_is_said_of_its_frames(first, count, stride, caption):
    assert cut_to_frames(STORY, 8, first, count, stride) == caption
    assert cut_to_frames("a fox", 8, first, count, stride) == "a fox"


def test_a_clip_gets_its_events_in_seconds_of_its_own():
    caption, events = cut_to_clip(STORY, 8, 10, 40)
    assert caption == "0s: a fox runs; 1.25s: it sleeps; 3.75s: it wakes"
    assert events == [
        {"start": 0.0, "end": 1.25, "text": "a fox runs"},
        {"start": 1.25, "end": 3.75, "text": "it sleeps"},
        {"start": 3.75, "end": 5.0, "text": "it wakes"},
    ]
    assert events_prompt(read_events(events, "x")) == caption
    one = [{"start": 0.0, "end": 1.0, "text": "it sleeps"}]
    assert cut_to_clip(STORY, 8, 24, 8) == ("it sleeps", one)
    assert cut_to_clip("0: a fox", 8, 24, 8) == ("0: a fox", None)


def test_what_takes_no_times_gets_one_text():
    assert untimed(STORY) == "a fox runs, then it sleeps, then it wakes"
    assert untimed("a fox") == untimed("a fox") == "a fox"
    assert not is_timed("0: a fox")


def test_words_change_and_times_stay():
    assert prefixed("sks", "0: a; 9: b") == "0: sks a; 9: sks b"
    assert prefixed("", "a") == prefixed("a", "") == "a"
    assert reworded("0: a; 9: b", {"a": "an a; 3: x", "b": ""}) == "0: an a, 3 x; 9: b"
    assert reworded("0: a; 9: b", {"a": ""}) == reworded("", {}) == ""
    assert reworded("a", {"a": "A"}) == "A"
