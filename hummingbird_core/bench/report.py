"""Benchmark results as JSON, Markdown table and plot."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from .. import __version__
from ..errors import MissingPackageError, printable
from ..files import atomic_write
from ..reporting import figure_class
from ..terminal import get_logger
from .models import BenchConfig

logger = get_logger(__name__)

CLOCKS = ("wall ", "cpu ")  # columns of one ratio
PACKAGES = ("torch", "diffusers", "transformers", "numpy")
BenchRow = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A plot: bars where x is a name, lines where x is a number.

    Args:
        x_label: label of x.
        y_label: label of y.
        series: name -> points (x, y); empty if nothing fitted into memory.
        logarithmic: whether the scale of values is logarithmic.
    """

    x_label: str
    y_label: str
    series: dict[str, list[tuple[Any, float]]]
    logarithmic: bool = False

    @classmethod
    def bars(cls, y_label: str, rows: Iterable[BenchRow], *keys: str) -> Chart:
        """Return a chart with a bar for each row that has a value at `keys`."""
        points = [(row["name"], _value_at(row, keys)) for row in rows]
        return cls("", y_label, {"": [point for point in points if point[1] is not None]})


@dataclass(frozen=True)
class Report:
    """A table with everything needed to reproduce it.

    Args:
        name: name of the files.
        title: title of the table.
        command: command that made the table.
        settings: settings of the benchmark.
        rows: nested dicts of text and numbers.
        notes: explanations below the table.
        chart: plot, or None.
    """

    name: str
    title: str
    command: str
    settings: BenchConfig
    rows: list[BenchRow]
    notes: tuple[str, ...] = ()
    chart: Chart | None = None

    @property
    def environment(self) -> dict[str, Any]:
        """Return the device and versions of the measurement."""
        return environment(self.settings.device)

    def to_json(self) -> str:
        """Return the record as JSON."""
        record = {
            "title": self.title,
            "command": self.command,
            "settings": asdict(self.settings),
            "environment": self.environment,
            "rows": self.rows,
            "notes": self.notes,
        }
        return json.dumps(record, indent=2)

    def to_markdown(self) -> str:
        """Return title, command, table and notes as Markdown."""
        where = ", ".join(f"{key} {value}" for key, value in self.environment.items())
        parts = [f"# {self.title}", f"`{self.command}`", markdown_table(self.rows)]
        return "\n\n".join([*parts, *self.notes, f"Measured with: {where}."]) + "\n"


def _value_at(row: BenchRow, keys: Iterable[str]) -> Any:
    """Return `row[key1][key2]...`, or None for a missing key."""
    value: Any = row
    for key in keys:
        value = value.get(key) if value is not None else None
    return value


def environment(device: torch.device | str) -> dict[str, Any]:
    """Return the device, system and package versions of a measurement."""
    device = torch.device(device)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "hummingbird": __version__,
        **{name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    """Return the processor's name, from /proc/cpuinfo on Linux."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write_bench_report(report: Report, folder: Path) -> list[Path]:
    """Write NAME.json, NAME.md and, if the chart has points, NAME.png.

    Without matplotlib a warning replaces the plot.

    Raises:
        OutputError: the folder cannot be written to.
    """
    written = []
    for suffix, text in ((".json", report.to_json() + "\n"), (".md", report.to_markdown())):
        path = folder / f"{report.name}{suffix}"
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(path)
    return written + _write_plot(report, folder / f"{report.name}.png")


def _write_plot(report: Report, path: Path) -> list[Path]:
    if report.chart is None or not any(report.chart.series.values()):
        return []
    try:
        with atomic_write(path) as temporary:
            draw(report.chart, report.title, temporary)
    except MissingPackageError as error:
        logger.warning("%s", error)
        return []
    return [path]


def markdown_table(rows: list[BenchRow]) -> str:
    """Return a Markdown table; nested keys become columns ("cpu speedup"), first seen first."""
    flat = [_flatten(row) for row in rows]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_cell(column, row.get(column)) for column in columns] for row in flat]
    return "\n".join(printable(f"| {' | '.join(line)} |") for line in lines)


def _flatten(row: Mapping[str, Any], prefix: str = "") -> BenchRow:
    flat: BenchRow = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key} ")
        elif key == "equality" and prefix in CLOCKS:
            flat[key] = value  # equal for both clocks, so shown once
        else:
            flat[prefix + key.replace("_", " ")] = value
    return flat


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    if column.endswith("speedup"):
        return f"{value:.2f}x"
    if column.endswith(("MiB", "GFLOP/s")):
        return f"{value:.0f}"
    if column.endswith("share"):
        return f"{value:.0%}"
    return f"{value:.1e}" if column.endswith("equality") else f"{value:.3g}"


def draw(chart: Chart, title: str, path: Path) -> None:
    """Save a plot as PNG."""
    figure = figure_class()(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    series = {name: points for name, points in chart.series.items() if points}
    for name, points in series.items():
        xs, ys = zip(*points, strict=True)
        if isinstance(xs[0], str):
            axes.barh(xs, ys, label=name)
        else:
            axes.plot(xs, ys, marker="o", label=name)
    _label(axes, chart, title, bars=any(isinstance(p[0][0], str) for p in series.values()))
    figure.savefig(path, format="png", dpi=120)


def _label(axes: Any, chart: Chart, title: str, *, bars: bool) -> None:
    x_label, y_label = chart.x_label, chart.y_label
    if bars:  # horizontal bars keep the names readable
        x_label, y_label = y_label, x_label
        axes.invert_yaxis()
        axes.margins(x=0.05)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    if chart.logarithmic:
        (axes.set_xscale if bars else axes.set_yscale)("log")
    if len(chart.series) > 1:
        axes.legend()
