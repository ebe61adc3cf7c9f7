"""Selection: thresholds, quantiles, copies, reasons; and that it is fast."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from support.planted_defects import scene

pytest.importorskip("pyarrow", reason="needs the extra curate")

from hummingbird_core.curation.selection import (
    DEFAULT_RULES,
    Limit,
    Rule,
    SelectionConfig,
    select,
)
from hummingbird_core.curation.selection_file import read_selection
from hummingbird_core.curation.table import build_table, read_manifest, write_manifest
from hummingbird_core.errors import InputError
from hummingbird_core.vqa import find_defects, measure

NO_RULES = SelectionConfig(rules={})


def row(number: int, **columns) -> dict:
    """A clip; its hash differs from every other clip's in many bits."""
    digits = np.random.default_rng(number).bytes(24).hex()
    return {
        "id": f"clip{number}",
        "source": f"{number:05d}.mp4",
        "start_frame": 0,
        "error": "",
        "hash": digits,
        **columns,
    }


def verdicts(rows, settings) -> list[tuple[str, str]]:
    table = select(build_table(rows), settings)
    assert table["kept"].to_pylist() == [not by for by in table["dropped_by"].to_pylist()]
    columns = table.select(["dropped_by", "reason"]).to_pylist()
    return [(column["dropped_by"], column["reason"]) for column in columns]


def test_least_and_greatest_values():
    rows = [row(i, blur=i / 10) for i in range(5)]
    settings = SelectionConfig({"blur": Rule(Limit(0.1), Limit(0.3))})
    assert verdicts(rows, settings) == [
        ("blur", "blur 0 is below 0.1"),
        ("", ""),
        ("", ""),
        ("", ""),
        ("blur", "blur 0.4 is above 0.3"),
    ]


def test_quantiles_are_over_all_clips():
    rows = [row(i, overall=float(i)) for i in range(10)]
    settings = SelectionConfig({"overall": Rule(minimum=Limit(0.3, quantile=True))})
    assert [not by for by, _ in verdicts(rows, settings)] == [False] * 3 + [True] * 7


def test_all_reasons_are_given():
    settings = SelectionConfig({"blur": Rule(None, Limit(0)), "flicker": Rule(None, Limit(0))})
    ((by, reason),) = verdicts([row(1, blur=1.0, flicker=2.0)], settings)
    assert by == "blur flicker"
    assert reason == "blur 1 is above 0; flicker 2 is above 0"


def test_what_was_not_measured_is_not_kept():
    settings = SelectionConfig({"blur": Rule(None, Limit(1))})
    rows = [row(1, blur=0.5), row(2), row(3, error="it is empty"), row(4, blur=float("nan"))]
    assert [by for by, _ in verdicts(rows, settings)] == ["", "blur", "error", "blur"]


def test_of_copies_the_best_that_passes_stays():
    same = {"hash": "0f" * 24}
    rows = [
        row(1, **same, blur=0.1, overall=1.0),
        row(2, **same, blur=0.1, overall=3.0),
        row(3, **same, blur=0.9, overall=9.0),
        row(4, blur=0.1, overall=0.0),
    ]
    settings = SelectionConfig({"blur": Rule(None, Limit(0.5))}, best_by="overall")
    found = verdicts(rows, settings)
    assert [by for by, _ in found] == ["duplicate", "", "blur", ""]
    assert found[0][1] == "near-duplicate of clip2"


def test_copies_can_be_kept_but_the_same_file_never_is():
    rows = [row(1, hash="00" * 24), row(2, hash="00" * 24), row(3, id="clip1")]
    settings = SelectionConfig({}, duplicate_distance=None)
    assert [by for by, _ in verdicts(rows, settings)] == ["", "", "duplicate"]


def test_a_rule_about_nothing():
    with pytest.raises(InputError, match=r"overall.*--dover"):
        select(build_table([row(1, blur=1.0)]), SelectionConfig({"overall": Rule(Limit(1))}))


def test_a_rule_about_what_no_clip_shows_is_no_mistake():
    table = build_table([row(1, black_fraction=1.0)])  # all of them are black, without a blur
    assert select(table, SelectionConfig())["dropped_by"].to_pylist() == ["black_fraction"]


def test_a_default_rule_takes_what_cannot_be_told_for_no_defect():
    clip = {"num_frames": 16, "contrast": 0.2}  # so small that it has no blocks
    table = build_table([row(1, **clip), row(2, **clip, hash=None)])
    reasons = select(table, SelectionConfig())["reason"].to_pylist()
    assert reasons == ["", "black_fraction was not measured"]
    strict = SelectionConfig({"blockiness": Rule(maximum=Limit(0.1))})
    assert verdicts([row(1, **clip)], strict) == [("blockiness", "blockiness was not measured")]


def test_a_freeze_at_the_limit_is_the_same_to_scores_and_selection():
    for frames, bad in ((4, False), (5, True)):
        freeze = {"longest_freeze": frames / 10, "frozen_fraction": 0.5}
        rules = SelectionConfig({"longest_freeze": DEFAULT_RULES["longest_freeze"]})
        assert find_defects(freeze) == (["frozen"] if bad else [])
        assert [bool(by) for by, _ in verdicts([row(1, **freeze)], rules)] == [bad]


def test_nothing_but_failures_is_no_error():
    table = build_table([{"id": "", "source": "a.mp4", "error": "it is empty"}])
    assert select(table, SelectionConfig())["dropped_by"].to_pylist() == ["error"]


def test_clips_too_short_to_measure():
    table = build_table([{"id": "a", "source": "a.mp4", "start_frame": 0, "error": ""}])
    assert select(table, NO_RULES)["kept"].to_pylist() == [True]


def test_settings_come_back_from_their_file(tmp_path):
    path = tmp_path / "selection.json"
    rules = {"blur": Rule(Limit(0.12345678901), Limit(1 / 3, quantile=True))}
    settings = SelectionConfig(rules, None, best_by="overall", clips_per_scene=2)
    path.write_text(settings.to_json(), encoding="utf-8")
    assert read_selection(path) == settings


def test_of_copies_the_largest_and_sharpest_stays():
    sizes = [(64, 48, 0.3), (128, 96, 0.5), (128, 96, 0.4), (64, 48, 0.2)]
    rows = [
        row(i, width=width, height=height, blur=blur, hash="f0" * 24)
        for i, (width, height, blur) in enumerate(sizes)
    ]
    copy = ("duplicate", "near-duplicate of clip2")
    assert verdicts(rows, NO_RULES) == [copy, copy, ("", ""), copy]


def test_of_copies_the_one_with_the_fewest_defects_stays_even_if_edges_look_sharp():
    """Burnt-in letters and bars are sharp, and lifted rules are no reason to prefer them."""
    same = {"hash": "f0" * 24, "width": 64, "height": 48}
    clean = {"blur": 0.4, "overlay": 0.0, "bars": 0.0}
    for worse in ({"overlay": 0.05}, {"overlay": 0.009}, {"bars": 0.25}, {"flicker": 0.5}):
        rows = [row(1, **same, **{**clean, "blur": 0.1, **worse}), row(2, **same, **clean)]
        assert [by for by, _ in verdicts(rows, NO_RULES)] == ["duplicate", ""], worse


def test_a_fixed_camera_does_not_fill_the_set():
    scene_of = {"source_id": "a"}
    near = [f"{1 << bit:048x}" for bit in range(0, 160, 10)]  # two bits apart
    rows = [row(i, **scene_of, start_frame=i, hash=h) for i, h in enumerate(near)]
    rows.append(row(99, **scene_of, start_frame=99))  # another scene of the same video
    rows.append(row(98, source_id="b", hash=near[0]))  # the same scene in another video
    settings = SelectionConfig(rules={}, duplicate_distance=None)
    dropped = [by for by, _ in verdicts(rows, settings)]
    assert dropped.count("scene") == 16 - settings.clips_per_scene
    assert dropped.count("") == settings.clips_per_scene + 2
    unlimited = SelectionConfig(rules={}, duplicate_distance=None, clips_per_scene=None)
    assert not any(by for by, _ in verdicts(rows, unlimited))


@pytest.mark.parametrize(
    ("measured", "rule"),
    [
        ({"caption_words": 0}, "caption_words"),
        ({"overlay": 0.03}, "overlay"),
        ({"bars": 0.2}, "bars"),
        ({"title_fraction": 1.0}, "title_fraction"),
        ({"noise": 0.95}, "noise"),
    ],
)
def test_the_default_rules_know_what_should_not_be_trained_on(measured, rule):
    ((by, _),) = verdicts([row(1, num_frames=16, **measured)], SelectionConfig())
    assert by == rule


def test_underexposed_clips_are_dropped_and_nights_with_lights_are_not():
    day = scene(1, 16, 96, 128)
    night = np.zeros_like(day)
    night[:, 20:40, 30:50] = day[:, 20:40, 30:50]  # a window that is lit
    for frames, dropped in ((day, ""), (day // 7, "contrast"), (night, "")):
        measured = measure(frames)
        table = build_table([row(1, **measured)])
        rules = SelectionConfig({"contrast": DEFAULT_RULES["contrast"]})
        assert select(table, rules)["dropped_by"].to_pylist() == [dropped]
        assert ("underexposed" in find_defects(measured)) == bool(dropped)


def test_a_file_changes_the_defaults_and_lifts_them(tmp_path):
    path = tmp_path / "selection.json"
    lifted = next(iter(DEFAULT_RULES))
    path.write_text(json.dumps({"rules": {"blur": {"max": "q0.9"}, lifted: None}}))
    rules = read_selection(path).rules
    assert lifted not in rules
    assert rules["blur"] == Rule(maximum=Limit(0.9, quantile=True))
    assert set(DEFAULT_RULES) - {lifted, "blur"} == set(rules) - {"blur"}


@pytest.mark.parametrize(
    "content",
    [
        "not JSON",
        "[]",
        '{"rules": 3}',
        '{"rules": {"blur": 3}}',
        '{"rules": {"blur": {}}}',
        '{"rules": {"blur": {"most": 3}}}',
        '{"rules": {"blur": {"max": "many"}}}',
        '{"rules": {"blur": {"max": "q3"}}}',
        '{"duplicate_distance": 99}',
        '{"duplicate_distance": "few"}',
        '{"duplicate_distance": 1.5}',
        '{"duplicate_distance": true}',
        '{"best_by": ["blur"]}',
        '{"clips_per_scene": 0}',
        '{"clips_per_scene": true}',
        '{"unknown": 1}',
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, content):
    path = tmp_path / "selection.json"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_selection(path)
    assert "\n" not in str(error.value)


def test_rows_in_any_order_give_the_same_bytes(tmp_path):
    rows = [row(i, blur=i / 7, **({"extra": 1.0} if i % 3 else {})) for i in range(30)]
    for name, order in (("a", rows), ("b", rows[::-1])):
        write_manifest(tmp_path / name, select(build_table(order), NO_RULES))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    table = read_manifest(tmp_path / "a")
    assert "kept" not in table.column_names
    assert table.equals(build_table(rows))


def test_20000_clips_are_selected_from_in_under_5_seconds():
    """CPU time, because the machine may be busy; measured: under a second."""
    rng = np.random.default_rng(0)
    measures = rng.uniform(size=(20_000, 20))
    rows = [row(i, **{f"m{k}": float(v) for k, v in enumerate(measures[i])}) for i in range(20_000)]
    table = build_table(rows)
    rules = {f"m{k}": Rule(Limit(0.01), Limit(0.99, quantile=True)) for k in range(20)}
    start = time.process_time()
    select(table, SelectionConfig(rules))
    assert time.process_time() - start < 5
