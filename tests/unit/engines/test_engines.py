"""The engines: every item comes back once, also when its process dies on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.paths import ROOT
from support.stages import on_worker_death, square

from hummingbird_core.engines.local import LocalEngine
from hummingbird_core.engines.ray import RayEngine
from hummingbird_core.errors import MissingPackageError


def visible_gpu(number: int) -> str:
    time.sleep(0.2)  # so that each worker gets some
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_a_process_that_dies_costs_its_item_only():
    results = dict(LocalEngine(2).map(square, iter(range(20)), on_worker_death))
    assert results == {n: n**2 for n in range(20)} | {13: -13}


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send Ctrl-C to these processes only")
def test_ctrl_c_ends_what_runs_and_begins_nothing(tmp_path):
    """A terminal sends it to all processes; items that wait in the pool must not be made."""
    code = "from tests.unit.engines.test_engines import *; run_slowly(sys.argv[1])"
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (tmp_path / "began-0").exists():
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    stderr = run.communicate(timeout=60)[1]
    assert {path.name for path in tmp_path.iterdir()} == {"began-0", "ended-0"}
    assert "KeyboardInterrupt" in stderr.splitlines()[-1]


def run_slowly(folder: str) -> None:
    """In a separate process: ten items on one worker."""
    items = [(Path(folder), number) for number in range(10)]
    list(LocalEngine(1).map(slow, iter(items), on_worker_death))


def slow(item: tuple[Path, int]) -> None:
    folder, number = item
    (folder / f"began-{number}").touch()
    try:
        time.sleep(5)
    finally:
        (folder / f"ended-{number}").touch()


def test_nothing_to_do():
    assert list(LocalEngine(2).map(square, iter(()), on_worker_death)) == []
    assert list(RayEngine(2).map(square, iter(()), on_worker_death)) == []


def test_every_worker_sees_a_gpu_of_its_own():
    results = LocalEngine(2, ["5", "7"]).map(visible_gpu, iter(range(4)), on_worker_death)
    assert {gpu for _, gpu in results} == {"5", "7"}


def test_ray_is_asked_for_in_one_line():
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(MissingPackageError, match="pip install"):
            list(RayEngine(1).map(square, [1], on_worker_death))
    else:
        pytest.skip("ray is installed")
