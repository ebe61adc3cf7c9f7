"""Agreement of clips and captions, and the choice by embeddings, with tiny models."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs the extra curate")

from support.contrastive_models import save_clip
from support.curation import KEEP_ALL, add_colored, add_video, colored, rows_of, run

from hummingbird_core.agreement.base import unit_vector
from hummingbird_core.agreement.load import load_text_video, model_identity
from hummingbird_core.curation.embeddings import EmbeddingConfig, read_embeddings
from hummingbird_core.curation.explain import explain
from hummingbird_core.curation.model_fields import attempt, sampled_frames
from hummingbird_core.curation.pipeline import reselect
from hummingbird_core.curation.selection import SelectionConfig
from hummingbird_core.curation.similar import even_shares, k_means, similar_pairs
from hummingbird_core.curation.table import read_manifest
from hummingbird_core.errors import CheckpointError, HummingbirdError, InputError

BY_COLOR = "support.contrastive_models:ByColor"
MOODY = "support.contrastive_models:Moody"


def fill(folder, captions=("red", "green", "red thing")):
    return add_colored(folder, captions)


def curated(folder, output, model, selection=KEEP_ALL):
    run(folder, output, None, selection, embeddings=EmbeddingConfig(str(model)))
    return rows_of(output)


def test_agreement_is_a_column_and_wrong_captions_have_less(tmp_path):
    red, green, blue = curated(fill(tmp_path / "in"), tmp_path / "out", BY_COLOR)
    assert red["agreement"] > 0.8
    assert green["agreement"] > 0.8
    assert blue["agreement"] < 0.6  # its caption says red
    assert not any(row["absent"] for row in (red, green, blue))
    vectors = read_embeddings(tmp_path / "out", [blue["id"], "unknown"])
    assert vectors[0].argmax() == 2
    assert np.isnan(vectors[1]).all()


def test_another_caption_asks_for_its_text_only(tmp_path):
    before = curated(fill(tmp_path / "in"), tmp_path / "out", BY_COLOR)
    (journal,) = (tmp_path / "out" / "journal").glob("embeddings-*.jsonl")
    lines = journal.read_text().splitlines()
    (tmp_path / "in" / "2.txt").write_text("blue thing")
    after = curated(tmp_path / "in", tmp_path / "out", BY_COLOR)
    assert [json.loads(line)["key"] for line in journal.read_text().splitlines()[len(lines) :]] == [
        "text:blue thing"
    ]
    assert after[2]["agreement"] > 0.8 > before[2]["agreement"]


def test_a_failure_costs_the_field_of_its_clip_and_is_tried_again(tmp_path, caplog):
    rows = curated(fill(tmp_path / "in"), tmp_path / "out", MOODY)
    assert all(row["kept"] for row in rows)
    assert [row["agreement"] for row in rows] == [None, None, None]
    reasons = ("the memory is full", "a vector of finite numbers", "got 5 numbers")
    for row, reason in zip(rows, reasons, strict=True):
        assert row["absent"].startswith("agreement: ")
        assert reason in row["absent"]
    assert "embeddings are absent, the first, clip:" in caplog.text
    settings = SelectionConfig(rules=KEEP_ALL.rules)
    table = read_manifest(tmp_path / "out" / "manifest.parquet")
    assert any("memory is full" in line for line in explain(table, settings, "0.mp4"))


@pytest.mark.parametrize(
    "model", ["no/such-model", "no_such_module:f", "support.contrastive_models:no_model"]
)
def test_a_model_that_is_absent_or_of_another_kind_stops_no_run(tmp_path, model):
    rows = curated(fill(tmp_path / "in"), tmp_path / "out", model)
    assert all(row["kept"] and row["agreement"] is None for row in rows)
    assert all("expected" in row["absent"] for row in rows)
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_clip_model_of_transformers(tmp_path):
    rows = curated(fill(tmp_path / "in"), tmp_path / "out", save_clip(tmp_path / "model"))
    assert all(-1 <= row["agreement"] <= 1 for row in rows)
    assert len({row["agreement"] for row in rows}) == 3


def test_the_identity_of_a_model_changes_with_its_files(tmp_path):
    folder = save_clip(tmp_path / "model")
    before = model_identity(str(folder))
    assert model_identity(str(folder)) == before
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert model_identity(str(folder)) != before


def test_a_model_without_texts_is_refused_with_its_type(tmp_path):
    save_clip(tmp_path).joinpath("config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(CheckpointError, match=r"type vit.*such as CLIP or SigLIP"):
        load_text_video(str(tmp_path))


@pytest.mark.parametrize("answer", [None, "text", [], [[1.0]], [0.0, 0.0], [1.0, np.inf], 3.0])
def test_nonsense_is_no_vector(answer):
    with pytest.raises(HummingbirdError, match="expected a vector of finite numbers"):
        unit_vector(answer)


def test_attempts_never_raise():
    def fail(key):
        raise KeyError(key)

    assert attempt("a", fail) == {"error": "'a'"}
    assert attempt("a", str.upper) == {"value": "A"}


@pytest.mark.parametrize("count", [1, 31, 63, 64, 1000])
def test_sampled_frames_are_evenly_apart(count):
    frames = sampled_frames(np.full((1, 1, 3), n) for n in range(count))[:, 0, 0, 0]
    assert len(frames) <= 63
    assert len(frames) >= min(count, 32)
    assert len({*np.diff(frames)}) <= 1


def test_clips_that_show_the_same_are_dropped_after_a_new_selection(tmp_path):
    folder = fill(tmp_path / "in")
    add_video(folder / "3.mp4", colored(0, seed=9), "red")
    curated(folder, tmp_path / "out", BY_COLOR)
    rules = SelectionConfig(rules=KEEP_ALL.rules, max_similarity=0.97)
    assert reselect(tmp_path / "out", rules).dropped == {"similar": 1}
    dropped = [row for row in rows_of(tmp_path / "out") if not row["kept"]]
    assert dropped[0]["source"] in ("0.mp4", "3.mp4")
    assert dropped[0]["reason"].startswith("shows the same as ")
    table = read_manifest(tmp_path / "out" / "manifest.parquet")
    with pytest.raises(InputError, match="without embeddings"):
        explain(table, rules, "0.mp4")


def test_a_balanced_choice_keeps_each_kind(tmp_path):
    folder = fill(tmp_path / "in")
    for seed in range(3, 6):
        add_video(folder / f"{seed}.mp4", colored(0, seed), "red")
    selection = SelectionConfig(rules=KEEP_ALL.rules, balance=3, clusters=3)
    rows = curated(folder, tmp_path / "out", BY_COLOR, selection)
    kept = [row for row in rows if row["kept"]]
    assert len(kept) == 3
    assert {"1.mp4", "2.mp4"} < {row["source"] for row in kept}
    assert {row["dropped_by"] for row in rows if not row["kept"]} == {"balance"}


def test_choices_by_embeddings_need_embeddings(tmp_path):
    selection = SelectionConfig(rules=KEEP_ALL.rules, balance=3)
    with pytest.raises(InputError, match="--agreement MODEL"):
        run(fill(tmp_path / "in"), tmp_path / "out", selection=selection)


def test_similar_pairs_equal_a_search_one_by_one():
    vectors = np.random.default_rng(0).normal(size=(1200, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kept: list[int] = []
    for row, vector in enumerate(vectors):
        if not any(vectors[other] @ vector >= 0.97 for other in kept):
            kept.append(row)
    copies = similar_pairs(vectors, 0.97)
    assert sorted({*range(1200)} - {*copies}) == kept
    assert all(original in kept and original < copy for copy, original in copies.items())


def test_k_means_finds_separate_groups():
    rng = np.random.default_rng(0)
    centers = np.eye(5, 16)
    truth = rng.integers(5, size=500)
    vectors = centers[truth] + 0.1 * rng.normal(size=(500, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = k_means(vectors, 5)
    for label in range(5):
        assert len({*truth[labels == label]}) == 1
    assert (k_means(vectors, 5) == labels).all()
    assert {*k_means(np.repeat(centers[:2], 4, axis=0), 8)} == {0, 1}
    assert len(k_means(np.empty((0, 3)), 4)) == 0


@pytest.mark.parametrize(
    ("sizes", "most", "shares"),
    [([5, 5], 4, [2, 2]), ([1, 9], 6, [1, 5]), ([2, 2], 9, [2, 2]), ([5, 5, 5], 4, [2, 1, 1])],
)
def test_shares_are_even(sizes, most, shares):
    assert even_shares(sizes, most) == shares


@pytest.mark.parametrize(
    "wrong", [{"balance": 0}, {"clusters": 2.5}, {"max_similarity": 1.5}, {"max_similarity": True}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        SelectionConfig(**wrong)
