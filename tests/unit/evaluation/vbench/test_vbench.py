"""VBench: the names it wants, the totals others have published, and what a missing score does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.command_line import error_of, run

from hummingbird_core.errors import InputError, MissingPackageError
from hummingbird_core.evaluation.vbench import export
from hummingbird_core.evaluation.vbench.export import export_jobs
from hummingbird_core.evaluation.vbench.flicker import temporal_flickering
from hummingbird_core.evaluation.vbench.official import run_vbench
from hummingbird_core.evaluation.vbench.prompts import (
    all_prompts,
    prompts_of,
    video_name,
    videos_of,
)
from hummingbird_core.evaluation.vbench.report import measured, published, systems_table, to_lines
from hummingbird_core.evaluation.vbench.scores import (
    DIMENSIONS,
    QUALITY,
    SEMANTIC,
    Totals,
    missing,
    read_results,
    totals,
)
from hummingbird_core.generation.jobs import VideoConfig
from hummingbird_core.generation.model import ModelConfig
from hummingbird_core.video import write_video

PROMPTS = {  # of VBench's prompts/README.md
    "subject_consistency": 72,
    "background_consistency": 86,
    "temporal_flickering": 75,
    "motion_smoothness": 72,
    "dynamic_degree": 72,
    "aesthetic_quality": 93,
    "imaging_quality": 93,
    "object_class": 79,
    "multiple_objects": 82,
    "human_action": 100,
    "color": 85,
    "spatial_relationship": 84,
    "scene": 86,
    "temporal_style": 100,
    "appearance_style": 90,
    "overall_consistency": 93,
}

# the prompts and the export


def test_all_prompts_are_there():
    assert len(all_prompts()) == 946
    assert len(prompts_of(DIMENSIONS)) == len(set(all_prompts())) == 944
    assert {name: len(prompts_of([name])) for name in DIMENSIONS} == PROMPTS


def test_videos_are_called_as_vbench_calls_them():
    """The examples of its prompts/README.md."""
    assert {
        "A 3D model of a 1800s victorian house.-0.mp4",
        "A beautiful coastal beach in spring, waves lapping on sand by Hokusai, "
        "in the style of Ukiyo-4.mp4",
    } <= {video_name(prompt, index) for prompt in all_prompts() for index in range(5)}


def test_names_are_safe_on_every_file_system():
    names = [video_name(prompt, 0) for prompt in all_prompts()]
    assert not set("".join(names)) & set('<>:"/\\|?*\n')
    assert max(len(name.encode()) for name in names) <= 240  # a temporary prefix still fits in 255


def test_flickering_takes_the_still_videos_that_were_kept(tmp_path):
    prompts = prompts_of(["temporal_flickering"])
    for index, prompt in enumerate(prompts):
        (tmp_path / video_name(prompt, index % 25)).touch()
    assert len(videos_of(tmp_path, "temporal_flickering")) == len(prompts)
    (tmp_path / video_name(prompts[3], 3)).unlink()
    with pytest.raises(InputError, match="1 of 75 videos"):
        videos_of(tmp_path, "temporal_flickering")


def jobs_of(tmp_path, *dimensions, samples=5, seed=0):
    return export_jobs(tmp_path, VideoConfig("", seed=seed), ModelConfig(), dimensions, samples)


def test_every_video_has_a_seed_of_its_own_whatever_else_is_exported(tmp_path):
    everything = {job.videos[0].name: job for job in jobs_of(tmp_path, *DIMENSIONS)}
    assert len(everything) == 944 * 5
    assert len({job.settings.seed for job in everything.values()}) == 944 * 5
    few, others = jobs_of(tmp_path, "color", samples=2), jobs_of(tmp_path, "color", seed=7)
    assert [everything[job.videos[0].name] for job in few] == few
    assert others[0].settings.seed == few[0].settings.seed + 7


def test_where_files_ignore_capitals_one_of_two_prompts_is_left_out(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(export, "_ignores_case", lambda folder: True)
    jobs = jobs_of(tmp_path, "overall_consistency", samples=1)
    assert len({job.videos[0].name.lower() for job in jobs}) == len(jobs) == 92
    assert "1 prompt is left out" in caplog.text


@pytest.mark.parametrize(("samples", "dimension"), [(0, "color"), (101, "color"), (5, "colour")])
def test_bad_exports(tmp_path, samples, dimension):
    with pytest.raises(InputError, match="expected"):
        jobs_of(tmp_path, dimension, samples=samples)


# the totals


@pytest.mark.parametrize("system", [s for s in published() if s.scores], ids=lambda s: s.name)
def test_published_totals_follow_from_published_dimensions(system):
    """To 0.01, the last digit that is printed."""
    assert missing(system.scores) == []
    found = totals(system.scores)
    for part in ("quality", "semantic", "total"):
        assert getattr(found, part) == pytest.approx(getattr(system.totals, part), abs=1e-4)


def test_the_systems_to_compare_with_are_there():
    printed = {
        row.split(" | ")[0]: row.split(" | ")[1] for row in systems_table(published()).split("\n")
    }
    assert printed["| VideoCrafter2"] == "80.44"
    assert printed["| T2V-Turbo (VideoCrafter2)"] == "81.01"
    assert printed["| Hummingbird 0.7B, 16 frames"] == "81.35"
    assert sum(bool(system.scores) for system in published()) >= 12


def test_weights_add_up_as_published():
    assert sum(dimension.weight for dimension in QUALITY.values()) == 6.5
    assert sum(dimension.weight for dimension in SEMANTIC.values()) == 9


BEST = {name: dimension.high for name, dimension in DIMENSIONS.items()}


def test_the_best_scores_give_one_and_the_lowest_zero():
    assert totals(BEST) == Totals(1, 1, 1)
    assert totals({name: d.low for name, d in DIMENSIONS.items()}) == Totals(0, 0, 0)


@pytest.mark.parametrize("name", DIMENSIONS)
def test_a_missing_dimension_makes_the_total_absent(name):
    scores = {other: score for other, score in BEST.items() if other != name}
    found = totals(scores)
    assert found.total is None
    assert (found.quality is None) == (name in QUALITY)
    assert (found.semantic is None) == (name in SEMANTIC)
    assert missing(scores) == [name]
    assert f"no total without {name}" in to_lines(measured("", scores, ""))


# VBench's result files


def write_results(folder, **scores):
    folder.mkdir(exist_ok=True)
    for name, score in scores.items():
        entry = [{"video_path": f"videos/a-{name}.mp4", "video_results": score}]
        (folder / f"{name}_eval_results.json").write_text(json.dumps({name: [score, entry]}))
    (folder / "color_full_info.json").write_text("[]")  # VBench leaves these, too
    return folder


def test_results_of_vbench_are_read(tmp_path):
    folder = write_results(tmp_path, color=0.9, temporal_flickering=1, scene=0.5)
    scores = {"temporal_flickering": 1.0, "color": 0.9, "scene": 0.5}
    assert read_results(folder) == scores
    (tmp_path / "all.json").write_text(json.dumps({n: [s, []] for n, s in scores.items()}))
    assert read_results(tmp_path / "all.json") == scores


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no results"),
        ("{}", "holds no results"),
        ('{"colour": [0.5, []]}', "expected a dimension"),
        ('{"color": 0.5}', "expected a dimension"),
        ('{"color": [null, []]}', "expected a dimension"),
        ('{"color": [NaN, []]}', "expected 0 to 1"),
        ('{"imaging_quality": [67.2, []]}', "expected 0 to 1"),
    ],
)
def test_bad_results_are_named(tmp_path, text, said):
    (tmp_path / "x_eval_results.json").write_text(text)
    with pytest.raises(InputError, match=said):
        read_results(tmp_path)


def test_a_dimension_in_two_files_is_an_error(tmp_path):
    write_results(tmp_path, color=0.9)
    (tmp_path / "again_eval_results.json").write_text('{"color": [0.8, []]}')
    with pytest.raises(InputError, match="color is in"):
        read_results(tmp_path)


def test_a_folder_without_results(capsys, tmp_path):
    assert "run VBench first" in error_of(capsys, "evaluate", "vbench", "totals", tmp_path)


# the command


def test_totals(capsys, tmp_path):
    reference = next(system for system in published() if system.name == "VideoCrafter2")
    write_results(tmp_path / "r", **reference.scores)
    code, out, _ = run(capsys, "evaluate", "vbench", "totals", tmp_path / "r")
    assert code == 0
    assert [line.split() for line in out.splitlines()[-3:]] == [
        ["quality", "82.20"],
        ["semantic", "73.42"],
        ["total", "80.44"],
    ]


def test_compare_writes_table_records_and_plot(capsys, tmp_path):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install ".[eval]"')
    write_results(tmp_path / "r", **{name: 0.9 for name in SEMANTIC if name != "color"})
    where = tmp_path / "table"
    code, out, _ = run(capsys, "evaluate", "vbench", "compare", f"us={tmp_path / 'r'}", "-o", where)
    assert code == 0
    table = where.with_suffix(".md").read_text()
    assert table.strip() in out
    assert next(row for row in table.splitlines() if "| us |" in row).startswith("| us | - | - |")
    records = {r["name"]: r for r in json.loads(where.with_suffix(".json").read_text())}
    assert records["us"]["total"] is None
    assert "color" in records["us"]["missing"]
    assert records["VideoCrafter2"]["total"] == pytest.approx(0.8044)
    assert where.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_table_is_in_order_and_knows_what_is_not_known():
    rows = [row.split(" | ") for row in systems_table(published()).splitlines()[2:]]
    totals_shown = [float(row[1]) for row in rows]
    assert totals_shown == sorted(totals_shown, reverse=True)
    assert all(len(row) == 4 + len(DIMENSIONS) for row in rows)
    lcm = next(row for row in rows if row[0] == "| AnimateLCM")
    assert lcm[1:4] == ["77.74", "-", "-"]


def test_a_system_needs_a_name(capsys, tmp_path):
    said = error_of(capsys, "evaluate", "vbench", "compare", tmp_path)
    assert "expected NAME=RESULTS" in said


# temporal flickering


def test_flicker_is_the_mean_difference():
    """VBench's formula written out: differences 10 and 30 of 255, so 1 - 20 / 255."""
    frames = [np.full((4, 6, 3), level, np.uint8) for level in (100, 110, 80)]
    assert temporal_flickering(frames) == pytest.approx((255 - 20) / 255, abs=1e-12)
    assert temporal_flickering([frames[0]] * 3) == 1
    extremes = [np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)]
    assert temporal_flickering(extremes) == 0


def test_flicker_needs_two_frames():
    with pytest.raises(InputError, match="fewer than 2"):
        temporal_flickering([np.zeros((2, 2, 3), np.uint8)])


def test_flicker_of_an_export_becomes_a_result_of_vbench(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "hummingbird_core.evaluation.vbench.prompts.prompts_of", lambda names: ["a still cup"]
    )
    (tmp_path / "videos").mkdir()
    assert "1 of 1 videos" in error_of(capsys, "evaluate", "vbench", "flicker", tmp_path)
    frames = np.full((3, 16, 16, 3), 128, np.uint8)
    for index in (1, 7, 24):
        write_video(tmp_path / "videos" / video_name("a still cup", index), frames, 8)
    assert run(capsys, "evaluate", "vbench", "flicker", tmp_path)[0] == 0
    assert read_results(tmp_path / "results") == {"temporal_flickering": 1.0}


# the official package


def test_the_official_package_is_asked_for_in_one_line(tmp_path):
    try:
        import vbench  # noqa: F401
    except ImportError:
        with pytest.raises(MissingPackageError, match="needs a separate environment"):
            run_vbench(tmp_path, tmp_path, [], "cpu")
    else:
        pytest.skip("vbench is installed")


def test_missing_videos_are_named_before_any_scoring(tmp_path):
    with pytest.raises(InputError, match="500 of 500 videos for human_action"):
        run_vbench(tmp_path, tmp_path / "results", ["human_action"], "cpu")
