"""Shares the cores out among the processes that run the tests (pytest-xdist)."""

from __future__ import annotations

import os

PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
# Read when torch is imported, here and in the programs that tests start.
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // PROCESSES)))
