"""`hummingbird bench growth`: growth of time and memory with frames, size and batch (table d)."""

from __future__ import annotations

from dataclasses import replace

from ..unet.model import HummingbirdUNet
from .measure import Repeats, Variant, measure_variants, row_or_out_of_memory, row_without
from .memory import call_peak
from .models import BenchConfig, load_unet, unet_inputs
from .peak_memory import MIB, Peak, in_fresh_process
from .plain_reference import OURS, PLAIN, PlainUNet
from .report import BenchRow, Chart, Report

FRAMES = (8, 16, 32, 64)
SCALES = (0.5, 1.0, 1.5, 2.0)  # of height and width
BATCHES = (1, 2, 4)
FIRST = {"frames": FRAMES[0], "size": SCALES[0], "batch": BATCHES[0]}


def report(settings: BenchConfig, repeats: Repeats, command: str) -> Report:
    """Measure one U-Net call, ours and plain, while one setting at a time grows."""
    rows = [
        _row(grows, value, row_or_out_of_memory(in_fresh_process, measure_point, point, repeats))
        for grows, value, point in points(settings)
    ]
    return Report(
        name=settings.file_name("growth"),
        title=f"{settings.preset}: growth of one U-Net call, {settings.dtype}",
        command=command,
        settings=settings,
        rows=rows,
        notes=(
            "Size is height and width relative to the settings. Attention inside a frame grows "
            "with the square of its pixels, attention through time with the square of the frames; "
            "everything else grows evenly. Memory is that above the weights, ours.",
        ),
        chart=Chart(
            "times as many frames, pixels or videos",
            "CPU seconds",
            {grows: _curve(rows, grows) for grows in FIRST},
        ),
    )


def points(settings: BenchConfig) -> list[tuple[str, float, BenchConfig]]:
    """Return (growing setting, value, config) for every point of the table."""
    height, width = settings.size
    frames = [("frames", count, replace(settings, frames=(count,))) for count in FRAMES]
    sizes = [
        ("size", scale, replace(settings, height=_side(height, scale), width=_side(width, scale)))
        for scale in SCALES
    ]
    batches = [("batch", count, replace(settings, batch=count)) for count in BATCHES]
    return [*frames, *sizes, *batches]


def _side(pixels: int, scale: float) -> int:
    return max(8, round(pixels * scale / 8) * 8)


def measure_point(settings: BenchConfig, repeats: Repeats) -> tuple[Peak, BenchRow]:
    """Return the peak of our call and its speed against the plain one; needs a fresh process."""
    unet = load_unet(settings)
    peak = call_peak(unet, unet, settings)  # first: a process keeps memory that it once took
    return peak, _compare(unet, settings, repeats)


def _compare(unet: HummingbirdUNet, settings: BenchConfig, repeats: Repeats) -> BenchRow:
    inputs = unet_inputs(settings, unet)
    plain = PlainUNet(unet)
    ways = [
        Variant(PLAIN, lambda watch: plain(**inputs)),
        Variant(OURS, lambda watch: unet(**inputs)),
    ]
    tolerance = settings.tolerance
    return measure_variants(ways, repeats, settings.device).row(OURS, PLAIN, tolerance=tolerance)


def _row(grows: str, value: float, found: tuple[Peak, BenchRow] | None) -> BenchRow:
    # Pixels are height x width.
    relative = (value / FIRST[grows]) ** (2 if grows == "size" else 1)
    row: BenchRow = {"grows": grows, "value": value, "relative": relative}
    if found is None:
        return row | row_without(OURS, PLAIN, [OURS])
    peak, ratio = found
    return row | ratio | {"above MiB": peak.above / MIB}


def _curve(rows: list[BenchRow], grows: str) -> list[tuple[float, float]]:
    measured = [row for row in rows if row["grows"] == grows and "cpu" in row]
    return [(row["relative"], row["cpu"]["seconds"]) for row in measured]
