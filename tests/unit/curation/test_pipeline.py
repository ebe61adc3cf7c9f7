"""The whole of curation on real files: hostile ones, kills at any moment, both engines."""

from __future__ import annotations

import json
import random
import re
import subprocess
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.chat_server import chat_server, says
from support.command_line import CLI
from support.planted_defects import scene, write_clip

pytest.importorskip("pyarrow", reason="needs the extra curate")

from support.curation import (
    KEEP_ALL,
    MEASURES,
    SMALL,
    InlineEngine,
    add_hostile,
    add_video,
    add_videos,
    assert_same_results,
    curate_command,
    rotate,
    rows_of,
    run,
)

from hummingbird_core import curation
from hummingbird_core.curation.captions import CaptionConfig
from hummingbird_core.curation.measure import MeasureConfig, max_frames
from hummingbird_core.curation.pipeline import curate, reselect
from hummingbird_core.curation.selection import DEFAULT_RULES, Limit, Rule, SelectionConfig
from hummingbird_core.curation.sources import list_sources
from hummingbird_core.curation.table import measured_columns, read_manifest
from hummingbird_core.engines.locks import only_run_in
from hummingbird_core.errors import HummingbirdError, InputError, OutputError
from hummingbird_core.training.data.clip_index import list_clips
from hummingbird_core.video import read_video
from hummingbird_core.video.reader import VideoStream

CURATION = Path(curation.__file__).parent


def test_a_bad_video_costs_itself_only_and_has_its_reason(tmp_path):
    reasons = add_hostile(tmp_path / "in")
    sources = list_sources(tmp_path / "in")
    (tmp_path / "in" / "gone.mp4").unlink()
    result = curate(sources, tmp_path / "out", InlineEngine(), MEASURES, KEEP_ALL)
    assert (result.videos, result.failed, result.clips, result.kept) == (9, 8, 1, 1)
    for row in rows_of(tmp_path / "out"):
        if row["source"] == "good.mp4":
            assert row["kept"]
        else:
            assert row["dropped_by"] == "error"
            assert reasons[row["source"]] in row["reason"]
            assert "\n" not in row["reason"]
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "truncated" in report
    assert "$(name)" in report


@pytest.mark.parametrize(
    ("fps", "height", "expected"),
    [(24.0, 240, 120), (60.0, 720, 300), (1000.0, 720, 388), (1000.0, 1440, 388), (0.1, 240, 1)],
)
def test_a_clip_is_limited_in_time_and_in_memory(fps, height, expected):
    video = VideoStream(iter(()), fps, height * 16 // 9, height, None)
    assert max_frames(video, MeasureConfig()) == expected


def test_odd_but_good_videos(tmp_path):
    frames = scene(2, 36, 48, 64)
    folder = tmp_path / "in"
    add_video(folder / "one.mp4", frames[:1])
    add_video(folder / "rotated.mp4", frames)
    rotate(folder / "rotated.mp4")
    half = ["-vf", "select='lt(n,18)+not(mod(n,3))'", "-fps_mode", "vfr"]
    add_video(folder / "variable.mp4", frames, output_params=half)
    run(folder, tmp_path / "out")
    rows = {row["source"]: row for row in rows_of(tmp_path / "out") if row["start_frame"] == 0}
    assert rows["one.mp4"]["reason"].startswith("num_frames 1 is below 16")
    assert (rows["rotated.mp4"]["width"], rows["rotated.mp4"]["height"]) == (48, 64)
    assert rows["variable.mp4"]["kept"]


def test_clips_of_starved_encoders_are_dropped(tmp_path):
    """Their pictures alone do not show it: x264 smooths its blocks."""
    frames = scene(0, **SMALL)
    for kind in ("clean", "low bitrate", "low bitrate H.264"):
        write_clip(tmp_path / "videos" / f"{kind}.mp4", frames, kind=kind)
    rule = {"quantizer": DEFAULT_RULES["quantizer"]}
    selection = SelectionConfig(rule, duplicate_distance=None)
    run(tmp_path / "videos", tmp_path / "out", selection=selection)
    verdicts = {Path(row["source"]).stem: row["dropped_by"] for row in rows_of(tmp_path / "out")}
    starved = dict.fromkeys(("low bitrate", "low bitrate H.264"), "quantizer")
    assert verdicts == {"clean": "", **starved}


def test_nothing_but_black_videos_is_no_error(tmp_path):
    add_video(tmp_path / "in" / "a.mp4", np.zeros_like(scene(1, **SMALL)))
    result = run(tmp_path / "in", tmp_path / "out", selection=SelectionConfig())
    assert (result.clips, result.kept) == (1, 0)
    assert rows_of(tmp_path / "out")[0]["dropped_by"].startswith("black_fraction")


def test_clips_captions_shards_and_report(tmp_path):
    folder = tmp_path / "in"
    shots = np.concatenate([scene(3, **SMALL), scene(4, **SMALL)])
    add_video(folder / "two.mp4", shots, "a <b>fox</b> & its shadow")
    add_video(folder / "copy.mp4", shots[:18], "a copy")
    output = tmp_path / "out"
    result = run(folder, output)
    assert (result.videos, result.clips, result.kept) == (2, 3, 2)
    kept = [row for row in rows_of(output) if row["kept"]]
    assert [row["boundary"] for row in kept] == ["start", "cut"]
    with tarfile.open(output / "shards" / "clips-000000.tar") as shard:
        names = [member.name for member in shard]
        assert names == [f"{row['id']}{kind}" for row in kept for kind in (".mp4", ".txt", ".json")]
        columns = json.load(shard.extractfile(f"{kept[0]['id']}.json"))
        assert columns["source"] == kept[0]["source"]
        assert shard.extractfile(f"{kept[1]['id']}.txt").read() == b"a <b>fox</b> & its shadow"
        shard.extract(f"{kept[1]['id']}.mp4", tmp_path, filter="data")
    clip = read_video(tmp_path / f"{kept[1]['id']}.mp4")
    assert np.abs(clip.frames.astype(float) - shots[18:]).mean() < 8
    report = (output / "report.html").read_text(encoding="utf-8")
    assert report.count("<svg") > 5
    assert "data:image/jpeg;base64," in report
    assert "<b>fox" not in report


def test_selecting_again_measures_nothing(tmp_path):
    for seed in range(4):
        add_video(tmp_path / "in" / f"{seed}.mp4", scene(seed, **SMALL))
    first = run(tmp_path / "in", tmp_path / "out", clips_per_shard=1)
    assert len(list((tmp_path / "out" / "shards").iterdir())) == first.kept == 4
    (tmp_path / "out" / "journal").rename(tmp_path / "elsewhere")
    for video in (tmp_path / "in").iterdir():
        video.unlink()
    stricter = replace(KEEP_ALL, rules={"camera_speed": Rule(maximum=Limit(0.5, quantile=True))})
    again = reselect(tmp_path / "out", stricter, clips_per_shard=1)
    assert (again.videos, again.clips, again.kept) == (4, 4, 2)
    assert len(list((tmp_path / "out" / "shards").iterdir())) == 2
    with pytest.raises(InputError, match="curate a SOURCE"):
        reselect(tmp_path / "nothing", stricter)


def test_what_is_done_is_not_done_again_unless_it_changed(tmp_path):
    for seed in range(3):
        add_video(tmp_path / "in" / f"{seed}.mp4", scene(seed, **SMALL))
    run(tmp_path / "in", tmp_path / "out")
    before = (tmp_path / "out" / "manifest.parquet").read_bytes()

    class Counting(InlineEngine):
        def map(self, stage, items, on_worker_death):
            self.names = [item.name for item in items]
            return super().map(stage, items, on_worker_death)

    engine = Counting()
    run(tmp_path / "in", tmp_path / "out", engine)
    assert engine.names == []
    assert (tmp_path / "out" / "manifest.parquet").read_bytes() == before
    add_video(tmp_path / "in" / "1.mp4", scene(9, **SMALL)[:17])
    run(tmp_path / "in", tmp_path / "out", engine)
    assert engine.names == ["1.mp4"]
    assert [row["num_frames"] for row in rows_of(tmp_path / "out")] == [18, 17, 18]


def test_rewritten_captions_are_in_manifest_and_shards(tmp_path, monkeypatch):
    monkeypatch.setenv("HUMMINGBIRD_CACHE", str(tmp_path / "cache"))
    add_video(tmp_path / "in" / "a.mp4", scene(1, **SMALL), "a fox")
    with chat_server(says("a fox stands still")) as server:
        how = CaptionConfig("server", model="tiny", url=server.url)
        run(tmp_path / "in", tmp_path / "out", captions=how)
    (row,) = rows_of(tmp_path / "out")
    assert (row["caption"], row["caption_words"]) == ("a fox", 4)
    assert row["rewritten_caption"] == "a fox stands still"
    with tarfile.open(tmp_path / "out" / "shards" / "clips-000000.tar") as shard:
        assert shard.extractfile(f"{row['id']}.txt").read().decode() == row["rewritten_caption"]


def test_events_with_times_are_cut_to_clips_and_read_by_training(tmp_path):
    """A video of 1.5 s becomes clips of 1 s and 0.5 s, each with its times."""
    story = "0s: a fox runs; 0.5s: it sleeps"
    add_video(tmp_path / "in" / "a.mp4", scene(1, 36, 48, 64), story)
    add_video(tmp_path / "in" / "b.mp4", scene(2, **SMALL), "a bird")
    result = run(tmp_path / "in", tmp_path / "out", clips_per_shard=10)
    first, second, plain = rows_of(tmp_path / "out")
    fps = first["fps"]
    assert (first["num_frames"], first["caption"]) == (24, story)
    assert first["captions"] == [
        {"start": 0.0, "end": 0.5, "text": "a fox runs"},
        {"start": 0.5, "end": 1.0, "text": "it sleeps"},
    ]
    assert first["caption_words"] == 6
    assert second["caption"] == "it sleeps"
    assert second["captions"] == [
        {"start": 0.0, "end": second["num_frames"] / fps, "text": "it sleeps"}
    ]
    assert (plain["caption"], plain["captions"], plain["caption_words"]) == ("a bird", None, 2)
    assert "captions" not in measured_columns(read_manifest(tmp_path / "out" / "manifest.parquet"))
    kept = {row["caption"] for row in (first, second, plain) if row["kept"]}
    assert {clip.caption for clip in list_clips(tmp_path / "out")} == kept
    assert {clip.caption for clip in list_clips(tmp_path / "out" / "shards")} == kept
    assert result.kept == len(kept)
    assert reselect(tmp_path / "out", KEEP_ALL) == result


def test_a_clip_without_a_caption_is_dropped_if_others_have_one(tmp_path, caplog):
    rules = SelectionConfig(rules={"caption_words": DEFAULT_RULES["caption_words"]})
    for seed, caption in enumerate(("", "a fox", "...")):
        add_video(tmp_path / "in" / f"{seed}.mp4", scene(seed, **SMALL), caption)
    result = run(tmp_path / "in", tmp_path / "out", selection=rules)
    assert [row["dropped_by"] for row in rows_of(tmp_path / "out")] == [
        "caption_words",
        "",
        "caption_words",
    ]
    assert result.dropped == {"caption_words": 2}
    assert "no video has a caption" not in caplog.text


def test_where_no_video_has_a_caption_clips_are_kept_with_a_warning(tmp_path, caplog):
    rules = SelectionConfig(rules={"caption_words": DEFAULT_RULES["caption_words"]})
    add_video(tmp_path / "in" / "a.mp4", scene(1, **SMALL))
    assert run(tmp_path / "in", tmp_path / "out", selection=rules).kept == 1
    assert "no video has a caption" in caplog.text


def test_two_runs_in_one_folder_are_refused(tmp_path):
    add_video(tmp_path / "in" / "a.mp4", scene(1, **SMALL))
    with (
        only_run_in(tmp_path / "out"),
        pytest.raises(OutputError, match="another run"),
    ):
        run(tmp_path / "in", tmp_path / "out")


# faults of the machine


def test_a_run_in_which_everything_fails_for_one_reason_stops_and_is_repeated(
    tmp_path, monkeypatch
):
    for seed in range(3):
        add_video(tmp_path / "in" / f"{seed}.mp4", scene(seed, **SMALL))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "missing"))
    with pytest.raises(HummingbirdError, match=r"3 videos .* ffmpeg could not start"):
        run(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    assert run(tmp_path / "in", tmp_path / "out").clips == 3


def test_what_fails_by_the_machines_fault_is_tried_again(tmp_path, monkeypatch, caplog):
    for seed in range(2):
        add_video(tmp_path / "in" / f"{seed}.mp4", scene(seed, **SMALL))
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    add_video(tmp_path / "gone.mp4", scene(3, **SMALL))
    table = tmp_path / "in" / "videos.csv"
    table.write_text("path\n0.mp4\n1.mp4\nbroken.mp4\n../gone.mp4\n")
    (tmp_path / "gone.mp4").rename(tmp_path / "elsewhere.mp4")

    class Dying(InlineEngine):
        def map(self, stage, items, on_worker_death):
            for item in items:
                yield item, (on_worker_death if item.name == "1.mp4" else stage)(item)

    assert run(table, tmp_path / "out", Dying()).failed == 3
    assert "2 of 4 videos failed for reasons that may pass" in caplog.text
    (tmp_path / "elsewhere.mp4").rename(tmp_path / "gone.mp4")
    result = run(table, tmp_path / "out")
    assert (result.clips, result.failed) == (3, 1)


# kills


def test_no_stage_imports_an_engine():
    stages = {path for path in CURATION.rglob("*.py") if path.name != "pipeline.py"}
    assert len(stages) > 10
    importing = [path.name for path in stages if re.search(r"import.*engine", path.read_text())]
    assert importing == []


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return add_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def undisturbed(videos, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed")
    run(videos, output)
    return output


def lines_in(journal_folder) -> int:
    return sum(path.read_bytes().count(b"\n") for path in journal_folder.glob("*.jsonl"))


def test_kill_at_random_moments_and_run_again(videos, undisturbed, tmp_path):
    output = tmp_path / "out"
    command = [*CLI, *curate_command(videos, output, tmp_path, "--workers", "1")]
    moments = random.Random(time.time_ns())
    for _ in range(2):
        until = lines_in(output / "journal") + moments.randint(1, 3)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and lines_in(output / "journal") < until:
            time.sleep(moments.uniform(0.001, 0.03))
        process.kill()
        process.wait()
    run(videos, output)
    assert_same_results(output, undisturbed)
    keys = [
        json.loads(line)["key"] for path in (output / "journal").iterdir() for line in path.open()
    ]
    assert len(keys) == len(set(keys)) == 9  # nothing that was done is done again
    assert not list(output.rglob(".*"))
