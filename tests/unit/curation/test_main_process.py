"""The main process names work and writes results: it needs no torch, half of a worker's memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.paths import ROOT


@pytest.mark.parametrize(
    "statement",
    [
        "import hummingbird_core.curation.pipeline",
        "from hummingbird_core.curation.selection import DEFAULT_RULES",
        "import hummingbird_core.curation.measure as m; m.number_columns(learned=True)",
        "from hummingbird_core.vqa import Score, Thresholds, find_defects; find_defects(Score())",
    ],
)
def test_it_loads_no_torch(statement):
    code = f"import sys\n{statement}\nsys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 0
