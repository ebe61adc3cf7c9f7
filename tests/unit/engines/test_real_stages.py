"""Equality of curation and generation in this process and on every engine.

One file, because Ray takes long to start: it starts once for all tests here.
"""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs the extra curate")

from support.command_line import run as run_command
from support.contrastive_models import save_clip
from support.curation import (
    add_colored,
    add_videos,
    assert_same_results,
    curate_command,
    rows_of,
    run,
)
from support.stages import on_worker_death, square
from support.video_jobs import MODEL, frames_in, jobs_in

from hummingbird_core.curation.descriptions import DescribeConfig
from hummingbird_core.curation.embeddings import EmbeddingConfig
from hummingbird_core.curation.judging import JudgeConfig
from hummingbird_core.engines.local import LocalEngine
from hummingbird_core.engines.ray import RayEngine
from hummingbird_core.generation.run import generate_here, generate_missing


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray", reason="needs Ray Data: pip install 'ray[data]'")
    yield ray
    ray.shutdown()


@pytest.fixture(params=["local", "ray"])
def engine(request) -> str:
    if request.param == "ray":
        request.getfixturevalue("ray")
    return request.param


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return add_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def curated_here(videos, tmp_path_factory):
    output = tmp_path_factory.mktemp("here")
    run(videos, output)
    return output


def test_a_ray_worker_that_dies_costs_its_item_only(ray):
    results = dict(RayEngine(2).map(square, iter(range(20)), on_worker_death))
    assert results == {n: n**2 for n in range(20)} | {13: -13}


def test_curation_writes_the_same_bytes(videos, curated_here, engine, tmp_path, capsys):
    command = curate_command(videos, tmp_path / "out", tmp_path, "--engine", engine)
    assert run_command(capsys, *command, "--workers", "2")[0] == 0
    assert_same_results(tmp_path / "out", curated_here)


@pytest.fixture(scope="module")
def colored_videos(tmp_path_factory):
    return add_colored(tmp_path_factory.mktemp("colored"), ("", "green", "blue one"))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict:
    return {
        "descriptions": DescribeConfig("support.vision_models:seen"),
        "embeddings": EmbeddingConfig(str(save_clip(tmp_path_factory.mktemp("clip")))),
        "judges": [JudgeConfig("support.judges:sometimes")],
    }


@pytest.fixture(scope="module")
def judged_here(colored_videos, models, tmp_path_factory):
    output = tmp_path_factory.mktemp("judged")
    run(colored_videos, output, **models)
    return output


def test_models_write_the_same_columns(colored_videos, models, judged_here, engine, tmp_path):
    output = tmp_path / "out"
    run(colored_videos, output)  # what is measured is not measured again
    run(colored_videos, output, {"local": LocalEngine, "ray": RayEngine}[engine](1), **models)
    for name in ("manifest.parquet", "embeddings.parquet"):
        assert (output / name).read_bytes() == (judged_here / name).read_bytes()
    rows = rows_of(output)
    assert [row["letters"] for row in rows] == [None, 5, 8]
    assert "memory is full" in rows[0]["absent"]
    assert len({row["agreement"] for row in rows}) == 3


def test_ray_makes_the_same_videos(ray, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    generate_here(jobs_in(here), MODEL, Event())
    assert (
        generate_missing(jobs_in(there), MODEL, False, RayEngine(1), there / "journal.jsonl") == 0
    )
    assert np.array_equal(frames_in(there), frames_in(here))
