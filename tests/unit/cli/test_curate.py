"""`hummingbird curate`: what it says, and what it says about bad input."""

from __future__ import annotations

import tarfile

import pytest
from support.command_line import error_of, run
from support.planted_defects import scene, write_clip

pytest.importorskip("pyarrow", reason="needs the extra curate")


def test_a_folder_and_other_thresholds_later(tmp_path, capsys):
    for seed in range(2):
        write_clip(tmp_path / "in" / f"{seed}.mp4", scene(seed, 18, 48, 64))
    output = tmp_path / "out"
    code, out, _ = run(capsys, "curate", tmp_path / "in", "-o", output, "--workers", "1")
    assert code == 0
    assert out.startswith("2 videos (0 could not be used), 2 clips, ")
    for name in ("manifest.parquet", "report.html", "selection.json", "shards"):
        assert (output / name).exists()
    code, out, _ = run(capsys, "curate", "-o", output, "--max", "num_frames=3")
    assert (code, out.split("\n")[0]) == (0, "2 videos (0 could not be used), 2 clips, 0 kept")
    assert "dropped by: num_frames 2" in out
    code, out, _ = run(capsys, "curate", "-o", output, "--selection", output / "selection.json")
    assert out.split("\n")[0].endswith("0 kept")


def test_limits_of_an_earlier_selection_stay_in_force(tmp_path, capsys):
    write_clip(tmp_path / "in" / "a.mp4", scene(0, 18, 48, 64))
    output = tmp_path / "out"
    _, _, err = run(capsys, "curate", tmp_path / "in", "-o", output, "--workers", "1")
    assert "videos: 0 of 1" in err  # where the output is a file, progress is lines
    assert "videos: 1 of 1" in err
    _, _, err = run(capsys, "curate", "-o", output, "--max", "num_frames=3")
    assert "other limits than in the last selection here: num_frames" in err
    _, out, err = run(capsys, "curate", "-o", output, "--min", "motion=0")
    assert "0 kept" in out
    assert "num_frames" not in err
    _, out, err = run(capsys, "curate", "-o", output, "--default-rules")
    assert "num_frames" in err
    assert "num_frames" not in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["missing"], "expected a folder"),
        ([], "curate a SOURCE"),
        (["--captions", "server", "--engine", "ray"], "--captions, --engine without a SOURCE"),
        (["--detector", "a:b", "--max-seconds", "3"], "--detector, --max-seconds without"),
        (["in", "--workers", "-1"], "workers"),
        (["in", "--max-seconds", "0"], "0.0 s"),
        (["in", "--max-height", "1"], "height"),
        (["in", "--max", "blur"], "limit"),
        (["in", "--detector", "nothing"], "MODULE:FUNCTION"),
        (["in", "--dover", "no.pth"], "--dover"),
        (["in", "--clips-per-shard", "0"], "shard"),
        (["in", "--captions", "server", "--caption-failures", "-1"], "budget"),
        (["in", "--selection", "no.json"], "no.json"),
        (["in", "--captions", "builtin"], "builtin"),
        (["."], "inside the source"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"")
    code, _, err = run(capsys, "curate", *arguments, "-o", "out")
    assert code == 2
    assert err.count("\n") == 1
    assert expected in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rule", ["blurr=0.5", "overall=q0.2"])
def test_a_rule_about_nothing_is_found_out_before_measuring(tmp_path, capsys, rule):
    write_clip(tmp_path / "in" / "a.mp4", scene(1, 18, 48, 64))
    error = error_of(capsys, "curate", tmp_path / "in", "-o", tmp_path / "out", "--max", rule)
    assert rule.partition("=")[0] in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["out/shards", "out/shards/clips-000000.tar", "out/in.csv"])
def test_a_source_inside_the_output_is_left_alone(tmp_path, capsys, source):
    """Its shards have the names of those that an earlier selection would have left."""
    shards = tmp_path / "out" / "shards"
    shards.mkdir(parents=True)
    (tmp_path / "out" / "in.csv").write_text("path\nshards/a.mp4\n")
    write_clip(shards / "a.mp4", scene(1, 18, 48, 64))
    with tarfile.open(shards / "clips-000000.tar", "w") as tar:
        tar.add(shards / "a.mp4", "a.mp4")
    error = error_of(capsys, "curate", tmp_path / source, "-o", tmp_path / "out", "--workers", "1")
    assert "inside the output" in error
    assert (shards / "clips-000000.tar").exists()
    assert not (tmp_path / "out" / "manifest.parquet").exists()
