"""Every table of `hummingbird bench` on tiny sizes: it runs, and each ratio has its equality."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import pytest
import torch
from support.models import relative_l2

from hummingbird_core.bench import decoders as bench_decoders
from hummingbird_core.bench import devices as bench_devices
from hummingbird_core.bench import growth as bench_growth
from hummingbird_core.bench import memory as bench_memory
from hummingbird_core.bench import modules as bench_modules
from hummingbird_core.bench import roofline
from hummingbird_core.bench.measure import EXACT, ROUNDED, Repeats
from hummingbird_core.bench.models import BenchConfig
from hummingbird_core.cli import bench
from hummingbird_core.errors import InputError, NumericalError

TINY = BenchConfig(height=32, width=32, frames=(2,))
HUGE = replace(TINY, height=2**26, width=2**26)  # no processor has addresses for so much
ONCE = Repeats(1, 0)


def run(tmp_path, *arguments) -> dict:
    """The JSON that a table leaves."""
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    quick = ["--size", "32x32", "--frames", "2"]
    if arguments[0] in bench.REPEATED:
        quick += ["--repeats", "1", "--warm-up", "0"]
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


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    """Without fast bfloat16, a processor takes seconds for a product as large as the real one."""
    monkeypatch.setattr(roofline, "GEMM_SIDE", 64)


def test_modules_against_the_plain_reference(tmp_path):
    record = run(tmp_path, "modules")
    peak, *rows = record["rows"]
    assert peak["module"] == "GEMM"
    names = [row["module"] for row in rows]
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
    settings = BenchConfig(height=32, width=32, frames=(2,), dtype="bf16")
    rows = bench_modules.report(settings, Repeats(1, 0), "").rows[1:4]
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


def test_both_sides_of_a_ratio_of_decoders_are_checked(monkeypatch):
    """The full decoder is not what a small one is compared with, so its own frames count, too."""
    wrong = bench_decoders.plain_decode
    monkeypatch.setattr(bench_decoders, "plain_decode", lambda vae, z: wrong(vae, z) * 1.01)
    with pytest.raises(NumericalError, match="full decoder, plain gave results"):
        bench_decoders.report(TINY, ONCE, "")


def test_speed_with_fewer_steps_of_the_teacher_says_so(tmp_path):
    record = run(tmp_path, "speed", "--teacher-steps", "2", "--student-steps", "1")
    names = [row["name"] for row in record["rows"]]
    assert names == [
        *("teacher, 2 steps", "teacher, 2 steps, always guided"),
        *("student, 1 step", "student, 4 steps, middle decoder", "student, 4 steps, tiny decoder"),
    ]
    assert "published with 50 steps" in record["notes"][1]
    assert "--teacher-steps 2 --student-steps 1" in record["command"]
    assert all(ratio["equality"] <= EXACT for ratio in ratios(record))


@pytest.mark.slow
@pytest.mark.parametrize("table", ["speed", "growth", "memory", "devices", "compile"])
def test_the_tables_that_take_minutes(tmp_path, table):
    record = run(tmp_path, table)
    assert all("equality" in ratio for ratio in ratios(record))
    assert record["rows"]


def test_peaks_are_of_equal_results():
    """Measure what the memory table compares, here without separate processes."""
    plain, ours = (bench_memory.unet_peak(name, TINY) for name in ("plain", "ours"))
    assert relative_l2(ours.result, plain.result) <= EXACT
    plain, ours = (bench_memory.vae_peak(n, TINY) for n in ("plain", "ours, 1 frame at a time"))
    assert relative_l2(ours.result, plain.result) <= EXACT


def test_tiles_are_in_the_table_of_memory():
    settings = replace(TINY, height=64, width=64)
    whole, tiled = (
        bench_memory.vae_peak(n, settings) for n in ("ours, 1 frame at a time", bench_memory.TILED)
    )
    assert tiled.result.shape == whole.result.shape
    assert EXACT < relative_l2(tiled.result, whole.result) < 0.5


@pytest.fixture(scope="module")
def everything() -> bench_devices.ModeResult:
    return bench_devices.run_mode(bench_devices.CPU_MODES[bench_devices.EVERYTHING], TINY, "nano")


@pytest.mark.parametrize(
    "name",
    ["fp32, weights from disk", "fp32, weights stored in fp8", "bf16, weights stored in fp8"],
)
def test_modes_that_save_memory_stay_within_their_tolerance(everything, name):
    reference, modes = bench_devices.EVERYTHING, bench_devices.CPU_MODES
    run = bench_devices.run_mode(modes[name], TINY, "nano")
    row = bench_devices.row_of(name, modes[name], {reference: everything, name: run}, reference)
    assert row["wall"]["equality"] <= modes[name].tolerance
    assert row["frame"]["equality"] <= (EXACT if name.startswith("fp32") else ROUNDED)
    assert row["needed MiB"] >= row["loading MiB"] > 0


def test_a_frame_that_is_wrong_gets_no_seconds(everything):
    reference, modes = bench_devices.EVERYTHING, bench_devices.CPU_MODES
    wrong = replace(everything, frame=replace(everything.frame, result=everything.frame.result + 1))
    runs = {reference: everything, "wrong": wrong}
    with pytest.raises(NumericalError, match="can't be compared"):
        bench_devices.row_of("wrong", modes[reference], runs, reference)


def test_the_first_exact_mode_that_fits_is_what_others_are_compared_with(everything):
    modes = bench_devices.CPU_MODES
    runs = dict.fromkeys(modes) | {"fp32, weights from disk": everything}
    reference = bench_devices.reference_of(modes, runs)
    assert reference == "fp32, weights from disk"
    row = bench_devices.row_of(
        bench_devices.EVERYTHING, modes[bench_devices.EVERYTHING], runs, reference
    )
    assert row["note"] == "fp32, everything in memory: does not fit"
    with pytest.raises(InputError, match="none of these fits"):
        bench_devices.reference_of(modes, dict.fromkeys(modes))


def test_modules_that_do_not_fit_leave_the_others_their_rows(monkeypatch):
    cases = bench_modules._cases
    monkeypatch.setattr(bench_modules, "_cases", lambda settings: [huge_case(), *cases(settings)])
    _, first, *others = bench_modules.report(TINY, ONCE, "").rows
    assert first["note"] == "ours fp32: does not fit; plain fp32: does not fit"
    assert len(ratios(others)) == 2 * len(others)


def huge_case() -> bench_modules.ModuleCase:
    def run() -> torch.Tensor:
        return torch.empty(HUGE.latent_shape())

    return bench_modules.ModuleCase("huge", run, lambda dtype: run)


@pytest.mark.slow
def test_sizes_that_do_not_fit_are_rows_that_say_so(monkeypatch):
    monkeypatch.setattr(bench_growth, "FRAMES", (2,))
    monkeypatch.setattr(bench_growth, "BATCHES", (1,))
    monkeypatch.setattr(bench_growth, "SCALES", (1, 2**21))
    rows = bench_growth.report(TINY, ONCE, "").rows
    assert ["note" in row for row in rows] == [False, False, True, False]
    rows = bench_memory.report(HUGE, ONCE, "").rows
    assert all(row["note"] == "does not fit" for row in rows)


def test_impossible_sizes_are_refused():
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    for wrong in (
        ["--size", "320"],
        ["--size", "30x32"],
        ["--frames", "0"],
        ["--batch", "0"],
        ["--size", "0x0"],
        ["--size", "32x32x32"],
        ["--repeats", "0"],
    ):
        with pytest.raises(InputError, match="expected"):
            bench.run(parser.parse_args(["modules", *wrong]))
    with pytest.raises(InputError, match="expected at least 1"):
        bench.run(parser.parse_args(["speed", "--teacher-steps", "0"]))


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("modules --frames 16 26", "--frames 16 26"),
        ("growth --student-steps 4", "--student-steps"),
        ("modules --teacher-steps 50", "--teacher-steps"),
        ("memory --repeats 3", "--repeats"),
        ("devices --warm-up 1", "--warm-up"),
        ("devices --dtype bf16", "--dtype"),
    ],
)
def test_options_that_a_table_has_no_use_for_are_refused(arguments, option):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    with pytest.raises(InputError, match=f"got {option} for the table"):
        bench.run(parser.parse_args(arguments.split()))


def test_devices_that_can_not_be_measured_are_refused():
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    with pytest.raises(InputError, match="expected cpu or cuda"):
        bench.run(parser.parse_args(["modules", "--device", "meta"]))
