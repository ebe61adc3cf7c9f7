"""Several runs in one folder: failures that pass, other settings, detectors of the user's own."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from support.command_line import error_of
from support.planted_defects import scene

pytest.importorskip("pyarrow", reason="needs the extra curate")

from support.curation import (
    KEEP_ALL,
    MEASURES,
    SMALL,
    InlineEngine,
    add_hostile,
    add_video,
    rows_of,
    run,
)

from hummingbird_core.curation.measure import MeasureConfig, clip_path
from hummingbird_core.curation.pipeline import WORKER_DIED, curate, reselect
from hummingbird_core.curation.selection import Limit, Rule, SelectionConfig
from hummingbird_core.curation.sources import list_sources
from hummingbird_core.errors import HummingbirdError
from hummingbird_core.files import temporary_path
from hummingbird_core.video import read_video


def watermark(frames: np.ndarray, fps: float) -> dict[str, float]:
    return {"watermark": float(frames[0, 0, 0, 0])}


def test_a_detector_of_the_users_own_adds_columns(tmp_path):
    add_video(tmp_path / "in" / "a.mp4", scene(1, **SMALL))
    measures = replace(MEASURES, detectors=(f"{__name__}:watermark",))
    rules = SelectionConfig({"watermark": Rule(maximum=Limit(-1))})
    sources = list_sources(tmp_path / "in")
    result = curate(sources, tmp_path / "out", InlineEngine(), measures, rules)
    assert (result.clips, result.kept) == (1, 0)
    assert rows_of(tmp_path / "out")[0]["dropped_by"] == "watermark"


@pytest.mark.parametrize("value", ["text", {"a": 1}, [1.0, 2.0]])
def test_what_a_detector_gives_must_be_numbers(tmp_path, monkeypatch, value):
    """Else the whole run would end in the journal, or in the manifest after all measuring."""
    add_video(tmp_path / "in" / "a.mp4", scene(1, **SMALL))
    found = {"mark": np.float32(0.5), "unknown": None, "undefined": np.nan}
    monkeypatch.setattr(f"{__name__}.FOUND", found)
    assert run_with_detector(tmp_path).clips == 1
    (row,) = rows_of(tmp_path / "out")
    assert (row["mark"], row["unknown"], row["undefined"]) == (0.5, None, None)
    monkeypatch.setattr(f"{__name__}.FOUND", {"mark": value})
    # The only video, and a fault that is not the video's: the run says so and stops.
    with pytest.raises(HummingbirdError, match=r"does not lie in them: the detector .*detected"):
        run_with_detector(tmp_path, "other")


@pytest.mark.parametrize("name", ["blur", "id", "hash", "overall", "kept", "two words", 3])
def test_a_detector_may_not_replace_other_columns(tmp_path, monkeypatch, name):
    add_video(tmp_path / "in" / "a.mp4", scene(1, **SMALL))
    monkeypatch.setattr(f"{__name__}.FOUND", {name: 1.0})
    with pytest.raises(HummingbirdError, match=f"{name!r} is taken"):
        run_with_detector(tmp_path)


FOUND: dict = {}


def detected(frames: np.ndarray, fps: float) -> dict:
    return FOUND


def run_with_detector(folder, output="out", **measures):
    settings = replace(MEASURES, detectors=(f"{__name__}:detected",), **measures)
    return curate(list_sources(folder / "in"), folder / output, InlineEngine(), settings, KEEP_ALL)


def test_the_measures_key_changes_with_weights_and_detectors(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    detector, weights = tmp_path / "a_detector.py", tmp_path / "DOVER.pth"
    detector.write_text("def mark(frames, fps): return {}")
    weights.write_bytes(b"truncated")
    settings = MeasureConfig(dover=str(weights), detectors=("a_detector:mark",))
    keys = [settings.cache_key(), settings.cache_key()]
    weights.write_bytes(b"whole")
    keys.append(settings.cache_key())
    detector.write_text("def mark(frames, fps): return {'mark': 1.0}")
    keys.append(settings.cache_key())
    assert len(set(keys)) == 3
    assert keys[0] == keys[1]


# failures that may pass


def test_a_failure_that_may_pass_is_tried_again(tmp_path, monkeypatch, caplog):
    """A detector with a bug; and then one without it, under the same name."""
    add_hostile(tmp_path / "in")
    monkeypatch.setattr(f"{__name__}.FOUND", 3)
    result = run_with_detector(tmp_path)
    assert (result.failed, result.clips) == (9, 0)
    assert "1 of 9 videos" in caplog.text
    assert not list((tmp_path / "out" / "clips").rglob("*.mp4"))
    monkeypatch.setattr(f"{__name__}.FOUND", {})
    tried = []
    monkeypatch.setattr(InlineEngine, "map", noting(tried, InlineEngine.map))
    result = run_with_detector(tmp_path)
    assert (result.failed, result.kept) == (8, 1)
    assert tried == ["good.mp4"]  # of the others no other run makes anything, either


def noting(names, plain):
    def noted(self, stage, items, on_worker_death):
        names.extend(item.name for item in items)
        return plain(self, stage, items, on_worker_death)

    return noted


def test_clips_that_cannot_be_written_are_tried_again(tmp_path):
    add_video(tmp_path / "in" / "a.mp4", scene(1, **SMALL))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "clips").write_text("in the way")
    with pytest.raises(HummingbirdError, match="cannot write"):
        run(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "clips").unlink()
    assert run(tmp_path / "in", tmp_path / "out").kept == 1


def test_a_video_whose_process_died_is_tried_again_in_the_next_run(tmp_path):
    add_video(tmp_path / "in" / "a.mp4", scene(1, **SMALL))

    class Dying(InlineEngine):
        def map(self, stage, items, on_worker_death):
            for item in items:
                yield item, on_worker_death(item)

    with pytest.raises(HummingbirdError, match=re.escape(WORKER_DIED[:40])):
        run(tmp_path / "in", tmp_path / "out", Dying())
    assert run(tmp_path / "in", tmp_path / "out").kept == 1


def test_damaged_weights_are_found_out_before_measuring(tmp_path, capsys):
    add_video(tmp_path / "in" / "a.mp4", scene(1, **SMALL))
    (tmp_path / "DOVER.pth").write_bytes(b"PK\x03\x04 truncated")
    arguments = (tmp_path / "in", "-o", tmp_path / "out", "--dover", tmp_path / "DOVER.pth")
    assert "DOVER.pth" in error_of(capsys, "curate", *arguments)
    assert not (tmp_path / "out").exists()


# several settings in one folder


def test_runs_with_other_settings_leave_each_other_s_clips_alone(tmp_path, monkeypatch):
    shots = np.concatenate([scene(3, 18, 96, 128), scene(4, 18, 96, 128)])
    add_video(tmp_path / "in" / "a.mp4", shots)
    for max_height in (720, 48, 720):
        result = run_with_detector(tmp_path, max_height=max_height)
        assert result.kept == 2
        for row in rows_of(tmp_path / "out"):
            clip = read_video(clip_path(tmp_path / "out" / "clips", row["id"]))
            assert clip.frames.shape[1:3] == (row["height"], row["width"])
            assert row["height"] == min(96, max_height)
    # One that fails at its second clip does not take the first, and leaves none of its clips.
    clips = sorted((tmp_path / "out" / "clips").rglob("*"))
    monkeypatch.setattr(f"{__name__}.FOUND", OnlyOnce())
    with pytest.raises(HummingbirdError, match="the second clip"):
        run_with_detector(tmp_path, max_seconds=2.0)
    assert sorted((tmp_path / "out" / "clips").rglob("*")) == clips


class OnlyOnce:
    """An answer of a detector that cannot be read a second time."""

    asked = 0

    def keys(self):
        self.asked += 1
        if self.asked > 1:
            raise RuntimeError("the second clip")
        return ()


def test_a_video_of_endless_clips_or_frames_costs_itself_only(tmp_path, monkeypatch):
    add_video(tmp_path / "in" / "a.mp4", scene(1, **SMALL))
    for name, limit in (("MAX_CLIPS", 0), ("MAX_FRAMES", 17)):
        monkeypatch.setattr(f"hummingbird_core.curation.measure.{name}", limit)
        assert run(tmp_path / "in", tmp_path / name).failed == 1
        (row,) = rows_of(tmp_path / name)
        assert f"more than {limit}" in row["error"]
        assert not list((tmp_path / name / "clips").rglob("*.mp4"))
        monkeypatch.undo()


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    add_video(tmp_path / "in" / "a.mp4", scene(1, **SMALL))
    output = tmp_path / "out"
    final = (output / "manifest.parquet", output / "shards" / "clips-000000.tar")
    for again in (lambda: run(tmp_path / "in", output), lambda: reselect(output, KEEP_ALL)):
        half = [temporary_path(path) for path in final]
        half.append(temporary_path(output / "clips" / "clips") / "ab" / "abc.mp4")
        for path in (*half, output / ".my-own-notes"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")
        again()
        assert [path.name for path in output.rglob(".*")] == [".my-own-notes"]
