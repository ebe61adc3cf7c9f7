"""Judges: adapters of models with tiny random ones, functions of users, and failures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import transformers

pytest.importorskip("pyarrow", reason="needs the extra curate")

from support.chat_server import chat_server, says
from support.curation import KEEP_ALL, add_colored, rows_of, run
from support.judge_models import save_classifier, save_detector, save_quality_network

from hummingbird_core.curation.judges import classes, objects, quality
from hummingbird_core.curation.judging import JudgeConfig
from hummingbird_core.curation.selection import Limit, Rule, SelectionConfig
from hummingbird_core.errors import CheckpointError, HummingbirdError, InputError
from hummingbird_core.prompts.backends.openai import ServerChat
from hummingbird_core.prompts.captioner import ServerCaptioner

CLIP = np.random.default_rng(0).integers(0, 255, (9, 30, 40, 3)).astype(np.uint8)
HERE = "support.judges"


def fill(folder, captions=("red", "green", "blue one")):
    return add_colored(folder, captions)


def judged(folder, output, *names, selection=KEEP_ALL):
    run(folder, output, None, selection, judges=[JudgeConfig.parse(name) for name in names])
    return rows_of(output)


def test_a_judge_adds_columns_that_rules_can_use(tmp_path):
    rules = SelectionConfig(rules={**KEEP_ALL.rules, "letters": Rule(minimum=Limit(4))})
    name = f"{HERE}:by_caption"
    rows = judged(fill(tmp_path / "in"), tmp_path / "out", name, selection=rules)
    assert [row["letters"] for row in rows] == [3, 5, 8]
    assert [row["dropped_by"] for row in rows] == ["letters", "", ""]
    assert {row["rate"] for row in rows} == {24.0}


def test_a_failure_costs_its_clip_the_columns_and_a_rerun_asks_for_it_alone(tmp_path):
    folder, name = fill(tmp_path / "in"), f"{HERE}:trouble"
    rows = judged(folder, tmp_path / "out", name, f"{HERE}:by_caption")
    for row, reason in zip(rows, ("memory is full", "mark", "'blur' is taken"), strict=True):
        assert row["absent"].startswith(f"{name}: ")
        assert reason in row["absent"]
        assert row["letters"] is not None
    (tmp_path / "in" / "0.txt").write_text("crimson")
    judged(folder, tmp_path / "out", f"{HERE}:by_caption")
    journals = (tmp_path / "out" / "journal").glob("judged-*.jsonl")
    keys = [json.loads(line)["key"] for file in journals for line in file.read_text().splitlines()]
    assert [json.loads(key)[1] for key in keys] == ["red", "green", "blue one", "crimson"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_module:f", "expected MODULE:FUNCTION"),
        (f"{HERE}:nothing", "expected MODULE:FUNCTION"),
        ("hummingbird_core.curation.judges.classes:nsfw=no/such", "not on this computer"),
    ],
)
def test_a_judge_that_is_absent_stops_no_run(tmp_path, name, reason):
    rows = judged(fill(tmp_path / "in"), tmp_path / "out", name)
    assert all(row["kept"] and reason in row["absent"] for row in rows)


def test_a_column_of_two_judges_is_that_of_the_first(tmp_path, caplog):
    names = (f"{HERE}:by_caption", f"{HERE}:constant")
    rows = judged(fill(tmp_path / "in"), tmp_path / "out", *names)
    assert [row["letters"] for row in rows] == [3, 5, 8]
    assert {row["other"] for row in rows} == {2}
    assert "column letters of support.judges:constant is taken" in caplog.text


def test_a_judge_needs_a_name():
    with pytest.raises(InputError, match="MODULE:FUNCTION=MODEL"):
        JudgeConfig.parse("nsfw")


def test_nsfw_is_a_probability(tmp_path):
    judge = classes.nsfw(str(save_classifier(tmp_path)))
    assert 0 < judge(CLIP, 8, "")["nsfw"] < 1
    assert judge(CLIP, 8, "") == judge(CLIP, 8, "other")


def test_a_classifier_without_unsafe_labels_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="with the labels cat, dog, expected one of nsfw"):
        classes.nsfw(str(save_classifier(tmp_path, ("cat", "dog"))))


def test_quality_is_the_output_of_a_network(tmp_path):
    judge = quality.network(str(save_quality_network(tmp_path)))
    value = judge(CLIP, 8, "")["quality"]
    assert np.isfinite(value)
    assert value != judge(255 - CLIP, 8, "")["quality"]
    assert np.isfinite(judge(CLIP[:1], 8, "")["quality"])  # fewer frames than the network sees


def test_a_network_with_several_outputs_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="with 3 outputs, expected"):
        quality.network(str(save_quality_network(tmp_path, 3)))


@pytest.mark.skipif(
    int(transformers.__version__.split(".")[0]) < 5,
    reason="before version 5 this processor takes CLIP's own tokenizer alone, which is not tiny",
)
@pytest.mark.parametrize(
    ("make", "column"), [(objects.text, "text_area"), (objects.faces, "face_area")]
)
def test_areas_are_shares_of_the_picture(tmp_path, monkeypatch, make, column):
    judge = make(str(save_detector(tmp_path)))
    assert 0 <= judge(CLIP, 8, "")[column] <= 1
    monkeypatch.setattr(objects, "THRESHOLD", 0.0)  # every box of a random detector
    assert judge(CLIP, 8, "")[column] > 0


def test_the_area_of_boxes():
    half = [0.25, 0.25, 0.5, 0.5]  # the left half of a picture that is half as high as wide
    assert objects.covered(np.array([half]), 0.5, 1.0) == 0.5
    assert objects.covered(np.array([half, half]), 0.5, 1.0) == 0.5
    assert objects.covered(np.empty((0, 4)), 0.5, 1.0) == 0.0


def test_a_language_model_gives_a_mark():
    assert quality.language(f"{HERE}:seven")(CLIP, 8, "a fox") == {"judged": 7.0}


@pytest.mark.parametrize(("answer", "mark"), [("8", 8.0), ("8.5/10", 8.5), ("great", 0), ("42", 0)])
def test_a_language_model_on_a_server_knows_the_caption(answer, mark):
    with chat_server(says(answer)) as server:
        captioner = ServerCaptioner(ServerChat(server.url, "tiny"))
        if mark:
            found = quality.judged(CLIP, 8, "a fox", captioner=captioner)
            assert found == {"judged": mark}
            assert "a fox" in server.requests[0]["messages"][1]["content"][-1]["text"]
        else:
            with pytest.raises(HummingbirdError, match="expected a number from 1 to 10"):
                quality.judged(CLIP, 8, "", captioner=captioner)
