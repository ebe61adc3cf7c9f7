"""Many videos on an engine: the same as one by one, resumable, and no failure stops the others."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from support.command_line import PROMPT, error_of, run
from support.video_jobs import MODEL, PROMPTS, QUICK, frames_in, jobs_in

from hummingbird_core.cli.options import ENGINE_DEFAULTS, add_engine, create_engine
from hummingbird_core.devices import gpu_names
from hummingbird_core.engines.journal import Journal, read_journal
from hummingbird_core.errors import InputError
from hummingbird_core.generation.model import ModelConfig
from hummingbird_core.generation.run import generate_here, generate_missing, generate_on


class InlineEngine:
    """The stage in this process: an engine as good as another, and a fast one."""

    def map(self, stage, items, on_worker_death):
        for item in items:
            yield item, stage(item)


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory) -> np.ndarray:
    """Frames of all videos, made in this process."""
    folder = tmp_path_factory.mktemp("here")
    generate_here(jobs_in(folder), MODEL, Event())
    return frames_in(folder)


def test_a_worker_makes_the_same_videos(one_by_one, tmp_path, capsys):
    lines = [json.dumps({"prompt": p, "seed": i, **QUICK}) for i, p in enumerate(PROMPTS)]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    folder = tmp_path / "v"
    command = ["generate", "--prompts", tmp_path / "p.jsonl", "-o", folder, "--format", "png"]
    command += ["--engine", "local", "--device", "cpu"]
    code, out, _ = run(capsys, *command)
    assert (code, out.count("wrote ")) == (0, 3)
    assert np.array_equal(frames_in(folder), one_by_one)
    entries = dict(read_journal(folder / "journal.jsonl"))
    assert [entries[key]["prompt"] for key in sorted(entries)] == PROMPTS
    assert all(entry["seconds"] > 0 for entry in entries.values())
    code, out, _ = run(capsys, *command)
    assert (code, out.count("kept ")) == (0, 3)


def make_all(engine, folder: Path) -> int:
    return generate_missing(jobs_in(folder), MODEL, False, engine, folder / "journal.jsonl")


def test_what_is_there_is_not_made_again(one_by_one, tmp_path, capsys):
    make_all(InlineEngine(), tmp_path)
    before = (tmp_path / "0" / "00000.png").stat().st_mtime_ns
    (tmp_path / "1" / "00000.png").unlink()
    (tmp_path / "1" / "00001.png").unlink()
    (tmp_path / "1").rmdir()
    assert make_all(InlineEngine(), tmp_path) == 0
    assert (tmp_path / "0" / "00000.png").stat().st_mtime_ns == before
    assert np.array_equal(frames_in(tmp_path), one_by_one)
    keys = [key for key, _ in read_journal(tmp_path / "journal.jsonl")]
    assert keys == ["0", "1", "2", "1"]


def test_a_video_that_fails_is_named_and_stops_no_other(tmp_path, caplog):
    jobs = jobs_in(tmp_path)
    jobs[1] = jobs_in(tmp_path, num_inference_steps=0)[1]
    with Journal(tmp_path / "j") as journal:
        assert generate_on(InlineEngine(), jobs, MODEL, journal) == 1
    entries = dict(read_journal(tmp_path / "j"))
    assert "steps" in entries["1"]["error"]
    assert "seconds" in entries["2"]
    assert "line 1 failed" in caplog.text
    assert not (tmp_path / "1").exists()


def test_failures_become_the_exit_code(tmp_path, caplog):
    (tmp_path / "style.safetensors").write_bytes(b"not a LoRA")
    model = ModelConfig(loras=((tmp_path / "style.safetensors", 1.0),))
    journal = tmp_path / "videos" / "journal.jsonl"
    code = generate_missing(jobs_in(tmp_path / "videos"), model, False, InlineEngine(), journal)
    assert code == 2
    assert "3 of 3 videos failed" in caplog.text
    assert all("style.safetensors" in entry["error"] for _, entry in read_journal(journal))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lora", "missing.safetensors"], "missing.safetensors"),
        (["--model", "missing.safetensors"], "missing.safetensors"),
        (["--decoder", "missing"], "missing"),
        (["--device", "toaster"], "toaster"),
        (["--workers", "0"], "got 0 workers"),
        (["--steps", "0"], "0"),
    ],
)
def test_bad_input_is_found_before_any_worker_starts(capsys, tmp_path, arguments, said):
    (tmp_path / "p.txt").write_text(PROMPT)
    command = ["generate", "--prompts", tmp_path / "p.txt", "-o", tmp_path / "v"]
    assert said in error_of(capsys, *command, "--engine", "local", *arguments)


def test_an_engine_is_for_many_videos(capsys):
    assert "--prompts" in error_of(capsys, "generate", PROMPT, "--engine", "local")


# which devices


def engine_of(arguments: list[str], workers: int, gpus: list[str]):
    parser = argparse.ArgumentParser()
    add_engine(parser, *ENGINE_DEFAULTS)
    return create_engine(parser.parse_args(arguments), workers, gpus)


def test_gpus_are_shared_out():
    engine = engine_of(["--engine", "local"], 2, ["0", "3"])
    assert (engine.workers, engine.gpus) == (2, ["0", "3"])
    assert engine_of(["--engine", "local", "--workers", "3"], 2, ["0", "3"]).gpus == ["0", "3", "0"]
    assert engine_of(["--engine", "local"], 1, []).gpus == []
    assert engine_of(["--engine", "ray"], 2, ["0", "3"]).gpus == 1.0
    assert engine_of(["--engine", "ray"], 1, []).gpus == 0.0
    assert engine_of(["--engine", "ray", "--gpus-per-worker", "0.5"], 4, []).gpus == 0.5


def test_gpus_keep_the_names_that_this_process_was_given():
    assert gpu_names(2, None) == ["0", "1"]
    assert gpu_names(2, "3,GPU-8f2a") == ["3", "GPU-8f2a"]


def test_no_workers_are_no_engine():
    with pytest.raises(InputError, match="at least 1"):
        engine_of(["--engine", "ray", "--workers", "0"], 1, [])
