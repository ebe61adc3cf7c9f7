"""Peak memory and result files, shared by the benchmark scripts."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil


@contextmanager
def memory_peak() -> Iterator[list[float]]:
    """Yield a list with the peak memory in MiB: of this process, and including its workers."""
    peak, done = [0.0, 0.0], threading.Event()

    def watch() -> None:
        this = psutil.Process()
        while not done.wait(0.5):
            own = this.memory_info().rss
            others = sum(map(_memory, this.children(recursive=True)))
            peak[:] = max(peak[0], own / 2**20), max(peak[1], (own + others) / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _memory(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # the process has ended
        return 0


def write_rows(output: Path, rows: list[dict[str, Any]], **facts: Any) -> None:
    """Write rows with the command and facts, such as settings and environment: `write_results`."""
    command = shlex.join(["python", *sys.argv])
    write_results(output, {"command": command, **facts, "rows": rows}, rows)


def write_results(output: Path, result: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write `result` as OUTPUT.json and `rows` as a Markdown table, OUTPUT.md."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([_text(row[head]) for head in heads] for row in rows)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    output.with_suffix(".md").write_text(table, encoding="utf-8")


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
