"""Captions of clips from their frames: they fill and check captions, and no failure stops a run."""

from __future__ import annotations

import pytest

pytest.importorskip("pyarrow", reason="needs the extra curate")

from support.chat_server import chat_server, fails, says
from support.curation import KEEP_ALL, add_colored, rows_of, run

from hummingbird_core.curation.descriptions import DescribeConfig
from hummingbird_core.curation.selection import DEFAULT_RULES, Limit, Rule, SelectionConfig
from hummingbird_core.errors import InputError
from hummingbird_core.training.data.clip_index import list_clips

SEEN = "support.vision_models:seen"
TROUBLE = "support.vision_models:trouble"


def described(folder, output, how, selection=KEEP_ALL):
    config = how if isinstance(how, DescribeConfig) else DescribeConfig(how)
    run(folder, output, None, selection, descriptions=config)
    return rows_of(output)


def test_captions_are_written_where_there_are_none_and_checked_elsewhere(tmp_path):
    folder = add_colored(tmp_path / "in", ["", "a green ball", "a dog"])
    red, green, blue = described(folder, tmp_path / "out", SEEN)
    assert red["seen_short"] == "a red ball"
    assert red["rewritten_caption"] == red["seen_long"] == "a large red ball rolls over grass"
    assert (red["caption"], red["caption_words"], red["caption_seen"]) == ("", 7, None)
    assert (green["rewritten_caption"], green["caption_words"]) == ("", 3)
    assert (green["caption_seen"], blue["caption_seen"]) == (1.0, 0.0)
    captions = {clip.caption for clip in list_clips(tmp_path / "out")}
    assert captions == {red["seen_long"], "a green ball", "a dog"}


def test_a_rule_drops_captions_of_what_is_not_seen(tmp_path):
    folder = add_colored(tmp_path / "in", ["a red ball", "a green ball", "a dog"])
    rules = {**KEEP_ALL.rules, "caption_seen": Rule(minimum=Limit(0.5))}
    rows = described(folder, tmp_path / "out", SEEN, SelectionConfig(rules=rules))
    assert [row["dropped_by"] for row in rows] == ["", "", "caption_seen"]


def test_where_no_video_has_a_caption_those_from_frames_count(tmp_path, caplog):
    rules = SelectionConfig(rules={"caption_words": DEFAULT_RULES["caption_words"]})
    rows = described(add_colored(tmp_path / "in", [""]), tmp_path / "out", SEEN, rules)
    assert rows[0]["kept"]
    assert "no video has a caption" not in caplog.text


def test_a_failure_costs_its_clip_the_caption_and_is_tried_again(tmp_path, caplog):
    folder = add_colored(tmp_path / "in", ["", "a green ball", ""])
    rows = described(folder, tmp_path / "out", TROUBLE)
    assert [row["seen_long"] for row in rows] == [None] * 3
    for row, reason in zip(rows, ("memory is full", "guessed (might)", "got int"), strict=True):
        assert row["absent"].startswith("seen_short, seen_long: ")
        assert reason in row["absent"]
    assert [row["kept"] for row in rows] == [True] * 3
    assert "3 of 3 descriptions are absent" in caplog.text


def test_a_rerun_asks_for_what_is_missing_only(tmp_path):
    folder = add_colored(tmp_path / "in", ["", "", ""])
    with chat_server(says("a ball")) as server:
        config = DescribeConfig("server", "tiny", server.url)
        replies = iter([says("a ball"), says("a ball")])
        server.answer_to = lambda request: next(replies, fails(400, "no image, please"))
        rows = described(folder, tmp_path / "out", config)
        assert [row["seen_long"] for row in rows] == ["a ball", None, None]
        assert "no image, please" in rows[1]["absent"]
        server.answer_to, before = None, len(server.requests)
        rows = described(folder, tmp_path / "out", config)
        assert [row["seen_long"] for row in rows] == ["a ball"] * 3
        assert not any(row["absent"] for row in rows)
        assert len(server.requests) == before + 4  # two captions of two clips


@pytest.mark.parametrize(
    "how", ["no_such_module:f", DescribeConfig("local", "no/such-model"), DescribeConfig("local")]
)
def test_a_model_that_is_absent_stops_no_run(tmp_path, how):
    (row,) = described(add_colored(tmp_path / "in", ["a ball"]), tmp_path / "out", how)
    assert row["kept"]
    assert row["seen_long"] is None
    assert "expected" in row["absent"]


def test_an_unknown_source_is_refused():
    with pytest.raises(InputError, match="expected local or server, or MODULE:FUNCTION"):
        DescribeConfig("builtin")
