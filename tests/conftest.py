"""Shares the cores out among the processes that run the tests (pytest-xdist)."""

from __future__ import annotations

import os

if WORKERS := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Read when torch is imported, here and in the programs that tests start. Only in a worker: it
    # inherits what is set in the process that starts it, for which all cores would be right.
    threads = max(1, (os.cpu_count() or 1) // int(WORKERS))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
