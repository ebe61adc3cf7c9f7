"""Questions about a selection: why a clip was dropped, and what other limits would keep."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs the extra curate")

from support.command_line import error_of
from support.command_line import run as run_command

from hummingbird_core.curation.explain import explain, preview
from hummingbird_core.curation.selection import Limit, Rule, SelectionConfig, select
from hummingbird_core.curation.table import build_table, write_manifest
from hummingbird_core.errors import InputError

SETTINGS = SelectionConfig(rules={"blur": Rule(maximum=Limit(0.5)), "motion": Rule(Limit(0.1))})


def rows() -> list[dict]:
    rng = np.random.default_rng(0)
    common = {"error": "", "caption": "a fox", "rewritten_caption": "", "fps": 24.0, "motion": 0.2}
    clips = [
        {**common, "id": f"clip{i}", "source": f"in/{i // 2}.mp4", "start_frame": 24 * (i % 2)}
        for i in range(10)
    ]
    measured = [
        {**clip, "blur": i / 10, "hash": rng.bytes(24).hex()} for i, clip in enumerate(clips)
    ]
    broken = {"id": "", "source": "in/broken.mp4", "error": "it is empty\x1b"}
    return [*measured, broken]


def test_a_clip_is_explained_by_each_of_its_measures():
    lines = explain(build_table(rows()), SETTINGS, "clip7")
    assert lines[0] == "clip7: in/3.mp4 from 1.0 s: dropped: blur 0.7 is above 0.5"
    assert lines[1] == "  caption: a fox"
    (blur,) = [line for line in lines if line.startswith("  blur ")]
    assert blur.split() == ["blur", "0.7", "at", "most", "0.5", "<-", "dropped"]
    (motion,) = [line for line in lines if line.startswith("  motion ")]
    assert motion.split() == ["motion", "0.2", "at", "least", "0.1"]


@pytest.mark.parametrize("name", ["in/3.mp4", "3.mp4"])
def test_the_name_of_a_video_explains_all_its_clips(name):
    lines = explain(build_table(rows()), SETTINGS, name)
    assert [line.split(":")[0] for line in lines if line.startswith("clip")] == ["clip6", "clip7"]


def test_a_video_that_could_not_be_used_is_explained_in_printable_letters():
    (line,) = explain(build_table(rows()), SETTINGS, "broken.mp4")
    assert line == r"in/broken.mp4: could not be used: it is empty\x1b"
    with pytest.raises(InputError, match=r"report\.html"):
        explain(build_table(rows()), SETTINGS, "nothing")


def test_a_preview_compares_with_the_last_selection(tmp_path):
    last = tmp_path / "selection.json"
    last.write_text(SETTINGS.to_json())
    stricter = SelectionConfig({**SETTINGS.rules, "blur": Rule(Limit(0.1), Limit(0.3))})
    assert preview(build_table(rows()), stricter, last) == [
        "kept: 6, with these rules: 3",
        "newly dropped by blur: 3 (clip0, clip4, clip5)",
    ]
    looser = SelectionConfig({"blur": Rule(maximum=Limit(2.0))})
    assert preview(build_table(rows()), looser, last) == [
        "kept: 6, with these rules: 10",
        "newly kept: 4 (clip6, clip7, clip8, clip9)",
    ]


def test_questions_change_nothing(tmp_path, capsys):
    (tmp_path / "selection.json").write_text(SETTINGS.to_json())
    write_manifest(tmp_path / "manifest.parquet", select(build_table(rows()), SETTINGS))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, out, _ = run_command(capsys, "curate", "-o", tmp_path, "--preview", "--max", "blur=0.3")
    assert (code, out.split("\n")[0]) == (0, "kept: 6, with these rules: 4")
    code, out, _ = run_command(capsys, "curate", "-o", tmp_path, "--explain", "clip7")
    assert code == 0
    assert "blur 0.7 is above 0.5" in out
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    error = error_of(capsys, "curate", tmp_path, "-o", tmp_path / "out", "--preview")
    assert "omit it" in error
