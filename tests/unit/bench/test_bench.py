"""The benchmarks: no speed without equality, a reference that agrees, reports that say all."""

from __future__ import annotations

import json
import math
import os
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.models import relative_l2, rnd, tiny_vae

from hummingbird_core.bench import plain_reference
from hummingbird_core.bench.growth import points
from hummingbird_core.bench.measure import (
    TOTAL,
    Equality,
    Repeats,
    Seconds,
    Speedup,
    Timing,
    Variant,
    measure_variants,
    row_or_out_of_memory,
)
from hummingbird_core.bench.models import BenchConfig, unet_inputs
from hummingbird_core.bench.peak_memory import (
    MIB,
    Peak,
    Usage,
    in_fresh_process,
    measure_loading,
    measure_peak,
    measure_usage,
)
from hummingbird_core.bench.plain_reference import PlainUNet, plain_decode
from hummingbird_core.bench.report import (
    Chart,
    Report,
    environment,
    markdown_table,
    write_bench_report,
)
from hummingbird_core.errors import InputError, NumericalError
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.vae import decode_latents

ROUNDING = 1e-5  # relative L2; other kernels add up in another order
SMALL = BenchConfig(height=32, width=48, frames=(3,), batch=2)


def timing(name: str, wall: float) -> Timing:
    return Timing(name, {TOTAL: Seconds(wall, 2 * wall)})


def equal(*names: str, distance: float = 1e-7) -> Equality:
    return Equality("slow", names, distance, 1e-4)


# --- no speed without equality


def test_a_speedup_needs_the_equality_of_both_ways():
    speedup = Speedup(timing("slow", 3.0), timing("fast", 1.5), equal("fast"))
    assert speedup.to_dict()["wall"] == {"seconds": 1.5, "speedup": 2.0, "equality": 1e-7}
    with pytest.raises(TypeError):
        Speedup(timing("slow", 3.0), timing("fast", 1.5))
    with pytest.raises(InputError, match="before reporting a speed"):
        Speedup(timing("slow", 3.0), timing("fast", 1.5), None)
    with pytest.raises(InputError, match="no check of the results of fast"):
        Speedup(timing("slow", 3.0), timing("fast", 1.5), equal("another"))


@pytest.mark.parametrize("distance", [2e-4, math.nan, math.inf])
def test_results_that_differ_are_no_equality(distance):
    with pytest.raises(NumericalError, match="can't be compared"):
        equal("fast", distance=distance)


def test_a_faster_way_that_is_wrong_gets_no_speed():
    right = Variant("right", lambda watch: torch.ones(4))
    wrong = Variant("wrong", lambda watch: torch.ones(4) * 1.01)
    measured = measure_variants([right, wrong], Repeats(1, 0))
    with pytest.raises(NumericalError, match=r"wrong gave results 0\.01 away from right"):
        measured.speedup("wrong", "right")


def test_ways_take_turns_and_warm_up_does_not_count():
    order = []

    def way(name: str) -> Variant:
        def run(watch):
            order.append(name)
            with watch.part("first"):
                return torch.zeros(1)

        return Variant(name, run)

    measured = measure_variants([way("a"), way("b")], Repeats(2, 1))
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert set(measured.timings["a"].parts) == {"first", TOTAL}
    with pytest.raises(InputError, match="at least 1"):
        Repeats(0)


def test_two_checks_are_one_if_they_have_the_same_reference():
    both = equal("fast").joined(equal("small", distance=1e-5))
    both.check_covers("fast", "small")
    assert both.distance == 1e-5
    with pytest.raises(InputError, match="expected one reference"):
        both.joined(Equality("another", ("tiny",), 0, 1e-4))


# --- what does not fit

TOO_LARGE = 2**60  # bytes: no processor has addresses for this many


def take_too_much() -> torch.Tensor:
    return torch.empty(TOO_LARGE, dtype=torch.uint8)


def test_what_takes_more_memory_than_there_is_does_not_fit(caplog):
    assert row_or_out_of_memory(take_too_much) is None
    assert "does not fit" in caplog.text
    assert row_or_out_of_memory(in_fresh_process, bytearray, TOO_LARGE) is None
    # As a system ends what takes too much.
    assert row_or_out_of_memory(in_fresh_process, os._exit, 1) is None
    with pytest.raises(RuntimeError, match="shape"):
        row_or_out_of_memory(torch.matmul, torch.ones(2, 3), torch.ones(2, 3))


@pytest.mark.parametrize("warm_up", [0, 1])
def test_a_way_that_does_not_fit_leaves_the_others_their_times(warm_up):
    ones = Variant("ones", lambda watch: torch.ones(4))
    same = Variant("same", lambda watch: torch.full((4,), 1.0))
    large = Variant("large", lambda watch: take_too_much())
    measured = measure_variants([ones, large, same], Repeats(2, warm_up))
    assert measured.row("same", "ones")["wall"]["equality"] == 0
    assert measured.row("large", "ones")["note"] == "large: does not fit"
    assert measured.row("same", "large") == {
        "name": "same",
        "against": "large",
        "note": "large: does not fit",
    }


# --- the plain reference


@pytest.mark.parametrize("preset", ["hummingbird-nano", "nano-teacher"])
def test_the_plain_unet_computes_the_same(preset):
    torch.manual_seed(0)
    unet = HummingbirdUNet(UNetConfig.from_preset(preset)).eval()
    inputs = unet_inputs(SMALL, unet)
    inputs["sample"] = inputs["sample"][..., :3, :5]  # odd sizes, too
    with torch.no_grad():
        assert relative_l2(PlainUNet(unet)(**inputs), unet(**inputs)) <= ROUNDING


def test_the_plain_unet_with_norms_that_do_not_mix_and_all_kinds_of_layers():
    torch.manual_seed(0)
    config = UNetConfig(
        model_channels=32, channel_mult=(1, 2), attention_levels=(0, 1), head_channels=8,
        context_dim=16, num_res_blocks=1, guidance_embedding=True,
    )  # fmt: skip
    unet = HummingbirdUNet(config).eval()
    inputs = unet_inputs(SMALL, unet)
    with torch.no_grad():
        assert relative_l2(PlainUNet(unet)(**inputs), unet(**inputs)) <= ROUNDING


def test_plain_attention_in_parts_is_the_same(monkeypatch):
    q, k, v = (rnd(name, (6, 5, 4)) for name in "qkv")
    whole = plain_reference.materialized_attention(q, k, v)
    monkeypatch.setattr(plain_reference, "MAX_MATRIX", 4 * 5 * 5 * 4)  # of four of the six
    assert torch.equal(plain_reference.materialized_attention(q, k, v), whole)


@torch.no_grad()
def test_the_plain_decoder_computes_the_same():
    torch.manual_seed(0)
    vae = tiny_vae(8, 16)
    latents = rnd("z", (2, 4, 3, 4, 6))
    assert relative_l2(plain_decode(vae, latents), decode_latents(vae, latents)) <= ROUNDING


# --- memory


def take_memory() -> Peak:
    return measure_peak(lambda: torch.ones(200 * MIB // 4)[:1])


def load_and_compute() -> tuple[Usage, Peak]:
    weights, loading = measure_usage(lambda: torch.ones(200 * MIB // 4)[:10].clone())
    return loading, measure_peak(lambda: weights + 1)


def load_and_keep() -> Usage:
    return measure_loading(lambda: torch.ones(200 * MIB // 4))[1]


def load_a_mapped_file(path: str) -> tuple[Usage, Usage]:
    def load() -> float:
        return sum(tensor.sum().item() for tensor in load_file(path).values())

    return measure_loading(load)[1], measure_usage(load)[1]


def measure_all(path: str) -> tuple[Peak, tuple[Usage, Peak], Usage, tuple[Usage, Usage]]:
    """One after the other, since a fresh process takes long to start."""
    return take_memory(), load_and_compute(), load_and_keep(), load_a_mapped_file(path)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path = tmp_path_factory.mktemp("mapped") / "model.safetensors"
    save_file({"weights": torch.ones(100 * MIB // 4)}, path)
    return in_fresh_process(measure_all, str(path))


def test_the_peak_of_a_fresh_process_is_what_was_taken(measured):
    peak, *_ = measured
    assert 190 * MIB <= peak.above <= 260 * MIB
    assert peak.result.tolist() == [1.0]


def test_loading_is_counted_too(measured):
    _, (loading, computing), *_ = measured
    assert loading.above >= 190 * MIB
    assert computing.above <= 50 * MIB


def test_what_is_loaded_counts(measured):
    _, _, kept, _ = measured
    assert 190 * MIB <= kept.above <= 260 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells mapped files apart")
def test_a_mapped_file_does_not_count_as_loaded(measured):
    *_, (loading, using) = measured
    assert loading.above <= 50 * MIB
    assert using.above >= 90 * MIB


# --- reports


def report(**changes) -> Report:
    row = Speedup(timing("slow", 3.0), timing("fast", 1.5), equal("fast")).to_dict()
    values = {"rows": [row], "notes": ("Said plainly.",), **changes}
    return Report("name", "Title", "hummingbird bench speed", BenchConfig(), **values)


def test_a_report_has_the_command_the_device_and_every_ratio_with_its_equality(tmp_path):
    write_bench_report(report(), tmp_path)
    record = json.loads((tmp_path / "name.json").read_text())
    assert record["command"] == "hummingbird bench speed"
    # Of the package: some builds add "+cpu" or "+cu121" at run time.
    assert torch.__version__.startswith(record["environment"]["torch"])
    assert record["settings"]["frames"] == [16]
    for clock in ("wall", "cpu"):
        assert record["rows"][0][clock]["speedup"] == 2.0
        assert record["rows"][0][clock]["equality"] == 1e-7
    text = (tmp_path / "name.md").read_text()
    assert "| fast | slow | 1.5 | 2.00x | 1.0e-07 | 3 | 2.00x |" in text
    assert "Said plainly." in text


def test_a_report_names_the_device_that_computed(monkeypatch):
    processor = environment("cpu")["device"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the GPU {device}")
    assert environment("cpu")["device"] == processor
    assert environment("cuda:1")["device"] == "the GPU cuda:1"


def test_a_table_shows_the_equality_of_every_ratio():
    ratio = {"seconds": 1.0, "speedup": 2.0, "equality": 1e-7}
    rows = [{"wall": ratio, "cpu": ratio, "frame": {**ratio, "equality": 1e-3}}]
    lines = markdown_table([*rows, {"note": "slow: does not fit"}]).splitlines()
    assert lines[0].count("equality") == 2
    assert "1.0e-07" in lines[2]
    assert "1.0e-03" in lines[2]
    assert lines[3].endswith("| slow: does not fit |")


@pytest.mark.parametrize(
    ("table", "changes", "expected"),
    [
        ("speed", {}, "speed-nano"),
        ("memory", {}, "memory-nano-fp32"),
        ("speed", {"dtype": "bf16", "device": "cuda:1"}, "speed-nano-bf16-cuda"),
        ("memory", {"height": 64, "width": 64}, "memory-nano-fp32"),
        ("devices", {"height": 160}, "devices-nano-160x64"),
        ("growth", {"preset": "hummingbird-0.7b"}, "growth-hummingbird-0.7b-fp32"),
    ],
)
def test_results_of_other_settings_have_other_names(table, changes, expected):
    assert BenchConfig(**changes).file_name(table) == expected


def test_a_report_of_nothing_that_fits_has_no_plot(tmp_path):
    written = write_bench_report(report(chart=Chart("x", "y", {"series": []})), tmp_path)
    assert [path.suffix for path in written] == [".json", ".md"]


@pytest.mark.parametrize("points", [[("a", 1.0), ("b", 2.0)], [(8, 1.0), (16, 2.0)]])
def test_a_report_is_drawn(tmp_path, points):
    pytest.importorskip("matplotlib")
    written = write_bench_report(report(chart=Chart("x", "y", {"series": points})), tmp_path)
    assert written[-1].read_bytes().startswith(b"\x89PNG")


def test_growth_changes_one_thing_at_a_time():
    settings = BenchConfig(height=64, width=64)
    for grows, value, point in points(settings):
        changed = {
            "frames": point.frames != settings.frames,
            "size": point.size != settings.size,
            "batch": point.batch != settings.batch,
        }
        assert not any(changed[name] for name in changed if name != grows)
        assert value in (point.frames[0], point.size[0] / 64, point.batch)
