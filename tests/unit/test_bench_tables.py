"""Every table of `hummingbird bench` on tiny sizes: it runs, and each ratio has its equality."""

from __future__ import annotations

import argparse
import json

import pytest
from helpers import relative_l2

from hummingbird_core.commands import bench
from hummingbird_core.errors import InputError
from hummingbird_core.evaluation import bench_devices, bench_memory, bench_modules
from hummingbird_core.evaluation.bench_measure import EXACT, ROUNDED, Repeats
from hummingbird_core.evaluation.bench_models import BenchSettings

TINY = BenchSettings(height=32, width=32, frames=(2,))


def run(tmp_path, *arguments) -> dict:
    """The JSON that a table leaves."""
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    quick = ["--size", "32x32", "--frames", "2", "--repeats", "1", "--warm-up", "0"]
    bench.run(parser.parse_args([*arguments, *quick, "-o", str(tmp_path)]))
    (found,) = tmp_path.glob("*.json")
    return json.loads(found.read_text())


def ratios(value) -> list[dict]:
    """Every dict that has a speed-up, at any depth."""
    if isinstance(value, list):
        return [found for item in value for found in ratios(item)]
    if not isinstance(value, dict):
        return []
    return ([value] if "speedup" in value else []) + ratios(list(value.values()))


def test_modules_against_the_plain_reference(tmp_path):
    record = run(tmp_path, "modules")
    names = [row["module"] for row in record["rows"]]
    assert names[0] == "U-Net"
    assert names[-1] == "VAE decoder"
    assert [name.partition(",")[0] for name in names[1:-1]] == [
        "ResBlock",
        "SpatialTransformer",
        "TemporalTransformer",
    ]
    assert all(ratio["equality"] <= EXACT for ratio in ratios(record))
    assert len(ratios(record)) == 2 * len(names)
    assert record["command"].startswith("hummingbird bench modules --preset nano --size 32x32")


def test_in_bfloat16_both_ways_are_held_against_float32():
    settings = BenchSettings(height=32, width=32, frames=(2,), dtype="bf16")
    rows = bench_modules.report(settings, Repeats(1, 0), "").rows[:3]
    assert [(row["name"], row["against"]) for row in rows] == [
        ("ours bf16", "plain bf16"),
        ("ours bf16", "plain fp32"),
        ("plain bf16", "plain fp32"),
    ]
    assert all(0 < ratio["equality"] <= ROUNDED for ratio in ratios(rows))


def test_decoders(tmp_path):
    rows = run(tmp_path, "decoders")["rows"]
    assert rows[0]["name"] == "full decoder"
    assert rows[1]["PSNR dB"] > 10  # of frames half as large as it was trained on
    assert all(ratio["equality"] <= EXACT for ratio in ratios(rows))


def test_speed_with_fewer_steps_of_the_teacher_says_so(tmp_path):
    record = run(tmp_path, "speed", "--teacher-steps", "2", "--student-steps", "1")
    names = [row["name"] for row in record["rows"]]
    assert names == ["teacher, 2 steps", "student, 1 step", "student, 4 steps, pruned decoder"]
    assert "published with 50 steps" in record["notes"][1]
    assert "--teacher-steps 2 --student-steps 1" in record["command"]
    assert all(ratio["equality"] <= EXACT for ratio in ratios(record))


@pytest.mark.slow
@pytest.mark.parametrize("table", ["speed", "growth", "memory", "devices"])
def test_the_tables_that_take_minutes(tmp_path, table):
    record = run(tmp_path, table)
    assert all("equality" in ratio for ratio in ratios(record))
    assert record["rows"]


def test_peaks_are_of_equal_results():
    """What the memory table compares, here without processes of their own."""
    plain, ours = (bench_memory.unet_peak(name, TINY) for name in ("plain", "ours"))
    assert relative_l2(ours.result, plain.result) <= EXACT
    plain, ours = (bench_memory.vae_peak(n, TINY) for n in ("plain", "ours, 1 frame at a time"))
    assert relative_l2(ours.result, plain.result) <= EXACT


@pytest.mark.parametrize("name", ["fp32, weights from disk", "fp32, weights stored in fp8"])
def test_modes_that_save_memory_stay_within_their_tolerance(name):
    modes = bench_devices.CPU_MODES
    expected, _ = bench_devices.run_mode(modes[bench_devices.EVERYTHING], TINY)
    unet, frame = bench_devices.run_mode(modes[name], TINY)
    assert relative_l2(unet.result, expected.result) <= modes[name].tolerance
    assert frame.result.isfinite().all()


def test_impossible_sizes_are_refused():
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    for wrong in (
        ["--size", "320"],
        ["--size", "30x32"],
        ["--frames", "0"],
        ["--batch", "0"],
        ["--teacher-steps", "0"],
    ):
        with pytest.raises(InputError, match="expected"):
            bench.run(parser.parse_args(["modules", *wrong]))
