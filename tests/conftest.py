"""Share the cores out among the test processes, show child processes this checkout, hear Ctrl-C."""

from __future__ import annotations

import os
import signal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Programs that tests start import the package and tests/support from here, wherever pip points.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
).rstrip(os.pathsep)

if WORKERS := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Read when torch is imported, here and in the programs that tests start. Only in a worker: it
    # inherits what is set in the process that starts it, for which all cores would be right.
    threads = max(1, (os.cpu_count() or 1) // int(WORKERS))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))

# A run in the background may inherit an ignored Ctrl-C, which tests send to themselves and to the
# programs that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
