"""Memory that is free returns to the system."""

from __future__ import annotations

import platform

import psutil
import pytest

from hummingbird_core.devices import trim_memory

MIB = 2**20


def used() -> float:
    return psutil.Process().memory_info().rss / MIB


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep no gaps")
def test_gaps_between_blocks_in_use_return_to_the_system():
    blocks = [bytes(100_000) for _ in range(1000)]  # too small for mappings of their own
    before = used()
    kept = blocks[::50]  # pins the heap at its top
    del blocks
    trim_memory()
    assert used() < before - 60
    assert len(kept) == 20


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    trim_memory()
