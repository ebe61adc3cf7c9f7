"""Memory that is free returns to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from hummingbird_core.devices import trim_memory

# Prints how much memory returns, in MB.
GAPS = """
import psutil
from hummingbird_core.devices import trim_memory

def used():
    return psutil.Process().memory_info().rss / 1e6

blocks = [bytes(100_000) for _ in range(1000)]  # too small for separate mappings
before = used()
kept = blocks[::50]  # pins the heap at its top
del blocks
trim_memory()
print(before - used())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep no gaps")
def test_gaps_between_blocks_in_use_return_to_the_system():
    """In a process without the gaps that other tests leave."""
    done = subprocess.run([sys.executable, "-c", GAPS], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 60  # of 100


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    trim_memory()
