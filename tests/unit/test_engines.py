"""The engines: every item comes back once, also when its process dies on it."""

from __future__ import annotations

import os
import time

import pytest

from hummingbird_core.engines import LocalEngine
from hummingbird_core.errors import MissingPackageError
from hummingbird_core.ray_engine import RayEngine


def square(number: int) -> int:
    if number == 13:  # what a fault in a library, or the system's killer, does
        os._exit(1)
    return number**2


def visible_gpu(number: int) -> str:
    time.sleep(0.2)  # so that each worker gets some
    return os.environ["CUDA_VISIBLE_DEVICES"]


def lost(number: int) -> int:
    return -number


def test_a_process_that_dies_costs_its_item_only():
    results = dict(LocalEngine(2).map(square, iter(range(20)), lost))
    assert results == {n: n**2 for n in range(20)} | {13: -13}


def test_nothing_to_do():
    assert list(LocalEngine(2).map(square, iter(()), lost)) == []
    assert list(RayEngine(2).map(square, iter(()), lost)) == []


@pytest.fixture
def ray():
    ray = pytest.importorskip("ray", reason="needs Ray Data: pip install 'ray[data]'")
    yield ray
    ray.shutdown()


def test_a_ray_worker_that_dies_costs_its_item_only(ray):
    results = dict(RayEngine(2).map(square, iter(range(20)), lost))
    assert results == {n: n**2 for n in range(20)} | {13: -13}


def test_every_worker_sees_a_gpu_of_its_own():
    results = LocalEngine(2, ["5", "7"]).map(visible_gpu, iter(range(4)), lost)
    assert {gpu for _, gpu in results} == {"5", "7"}


def test_ray_is_asked_for_in_one_line():
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(MissingPackageError, match="pip install"):
            list(RayEngine(1).map(square, [1], lost))
    else:
        pytest.skip("ray is installed")
