"""`hummingbird score`: table, JSON and CSV, and files that cannot be read."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import torch
from support.command_line import error_of, run

from hummingbird_core.video import write_video
from hummingbird_core.vqa import DOVER, Score, score_file


@pytest.fixture
def clips(tmp_path):
    """A moving picture, a black one, and something that is no video."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = np.kron(noise, np.ones((8, 8, 1), np.uint8))  # [48, 64, 3]
    moving = np.stack([np.roll(picture, 2 * t, axis=1) for t in range(8)])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video" * 100)
    return [
        write_video(tmp_path / "moving.mp4", moving, 8),
        broken,
        write_video(tmp_path / "black.mp4", np.zeros_like(moving), 8),
    ]


def test_table_has_a_line_for_each_file(clips, capsys):
    code, out, _ = run(capsys, "score", *clips)
    lines = out.splitlines()
    assert code == 2
    assert len(lines) == 4
    assert "overall" not in lines[0]  # there are no weights
    assert "cannot be scored: broken.mp4" in lines[2]
    assert "black" in lines[3].split("  ")[-1]


def test_json_holds_everything_that_is_known(clips, capsys):
    code, out, _ = run(capsys, "score", clips[0], "--json")
    (row,) = json.loads(out)
    assert code == 0
    assert row["file"] == str(clips[0])
    assert row["num_frames"] == 8
    assert row["motion"] > 0
    assert "technical" not in row


def test_json_is_one_list_however_many_files_there_are(clips, capsys, tmp_path):
    code, out, _ = run(capsys, "score", *clips, "--json")
    rows = json.loads(out)
    assert code == 2
    assert [row["file"] for row in rows] == [str(path) for path in clips]
    assert out == json.dumps(rows, indent=2) + "\n"
    assert "error" in rows[1]


def test_folders_are_searched_for_videos_and_frames(clips, capsys, tmp_path):
    folder = tmp_path / "takes"
    (folder / "more").mkdir(parents=True)
    clips[0].rename(folder / "more" / "b.mp4")
    clips[2].rename(folder / "a.mp4")
    write_video(folder / "frames.png", np.zeros((3, 16, 16, 3), np.uint8), 8)
    (folder / "notes.txt").write_text("not a video")
    (folder / "more" / "round").symlink_to(folder, target_is_directory=True)
    (tmp_path / "empty").mkdir()
    code, out, _ = run(capsys, "score", folder, tmp_path / "empty", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    names = [row["file"].removeprefix(str(tmp_path)) for row in rows]
    assert names == ["/takes/a.mp4", "/takes/frames", "/takes/more/b.mp4", "/empty"]
    assert "holds no frames" in rows[3]["error"]
    assert code == 2


def test_several_processes_give_the_same_scores(clips, capsys):
    _, alone, _ = run(capsys, "score", *clips, "--csv", "--workers", 1)
    code, together, _ = run(capsys, "score", *clips, "--csv", "--workers", 2)
    assert code == 2
    titles, *lines = together.splitlines()
    assert [titles, *sorted(lines)] == [titles, *sorted(alone.splitlines()[1:])]
    assert len(lines) == 3


def test_lines_are_printed_as_the_results_come(clips, capsys, monkeypatch):
    """When the second file is read, the line of the first one is on the screen."""
    seen = []

    def watching(path, **settings):
        seen.append(capsys.readouterr().out)
        return score_file(path, **settings)

    monkeypatch.setattr("hummingbird_core.vqa.score_file", watching)
    run(capsys, "score", clips[0], clips[2])
    assert seen[0] == ""
    assert str(clips[0]) in seen[1]


def test_no_workers(clips, capsys):
    assert "got 0 workers" in error_of(capsys, "score", clips[0], "--workers", 0)


def test_csv_has_the_same_columns_for_all(clips, capsys):
    _, out, _ = run(capsys, "score", *clips, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["num_frames"] for row in rows] == ["8.0", "", "8.0"]
    assert rows[1]["error"]
    assert "black" in rows[2]["faults"].split()
    assert set(Score.__dataclass_fields__) <= rows[0].keys()
    assert rows[0]["overall"] == ""  # absent, not zero


def test_learned_scores_with_a_file_of_weights(clips, capsys, tmp_path):
    torch.manual_seed(0)
    torch.save(DOVER.from_preset("dover-mobile").state_dict(), tmp_path / "mobile.pth")
    code, out, err = run(capsys, "score", clips[0], "--dover", tmp_path / "mobile.pth", "--json")
    assert code == 0
    assert "non-commercial use only" in err
    assert 0 <= json.loads(out)[0]["overall"] <= 100


@pytest.mark.parametrize(
    ("options", "seed"), [([], 42), (["--seed", "7"], 7), (["--seed", "random"], None)]
)
def test_fragments_have_one_seed_unless_asked_otherwise(clips, capsys, monkeypatch, options, seed):
    """The seed that DOVER gets; test_dover.py shows what it does."""
    seen = []

    def watching(path, **settings):
        seen.append(settings["seed"])
        return score_file(path, **settings)

    monkeypatch.setattr("hummingbird_core.vqa.score_file", watching)
    assert run(capsys, "score", clips[0], *options)[0] == 0
    assert seen == [seed]


def test_a_seed_that_is_none(clips, capsys):
    said = error_of(capsys, "score", clips[0], "--seed", "abc")
    assert "got 'abc', expected a whole number or 'random'" in said


def test_wrong_weights_stop_before_the_first_video(clips, capsys, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    assert "DOVER" in error_of(capsys, "score", clips[0], "--dover", tmp_path / "other.pth")


def test_a_seed_that_is_no_number_is_told_what_to_be(clips, capsys):
    assert "'abc', expected a whole number or 'random'" in error_of(
        capsys, "score", clips[0], "--seed", "abc"
    )


def test_a_fault_of_the_machine_stops_a_run_that_meets_nothing_else(clips, capsys, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(clips[0].parent / "missing"))
    code, out, err = run(capsys, "score", clips[0], clips[2])
    assert (code, out) == (2, "")
    assert "2 files in a row failed for one reason" in err
    assert "ffmpeg could not start" in err
    assert len(err.strip().splitlines()) == 1
