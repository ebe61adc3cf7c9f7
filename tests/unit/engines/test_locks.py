"""Locks let one in, end with their process and leave nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest
from support.paths import ROOT

from hummingbird_core.engines.locks import LOCK_NAME, only_one, only_run_in
from hummingbird_core.errors import OutputError

HOLD = """
import sys
from pathlib import Path
from hummingbird_core.engines.locks import only_run_in
with only_run_in(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def start_holder(folder):
    command = [sys.executable, "-c", HOLD, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holder = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
    assert holder.stdout.readline() == "in\n"
    return holder


def test_the_second_is_refused_until_the_first_is_done(tmp_path):
    with (
        only_run_in(tmp_path),
        pytest.raises(OutputError, match=r"another run is at work in .*: wait for it"),
        only_run_in(tmp_path),
    ):
        pass
    with only_run_in(tmp_path), only_run_in(tmp_path / "another"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["another"]


def test_another_thread_is_refused_too(tmp_path):
    failures = []

    def enter():
        try:
            with only_run_in(tmp_path):
                pass
        except OutputError as error:
            failures.append(error)

    with only_run_in(tmp_path):
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert len(failures) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_kill_frees_the_lock(tmp_path):
    holder = start_holder(tmp_path)
    with pytest.raises(OutputError, match="another run"), only_run_in(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert (tmp_path / LOCK_NAME).exists()
    with only_run_in(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_an_error_inside_frees_the_lock(tmp_path):
    with pytest.raises(KeyboardInterrupt), only_run_in(tmp_path):
        raise KeyboardInterrupt
    with only_run_in(tmp_path):
        pass


@pytest.mark.parametrize("name", ["x", "2026-11-28T16:00:00", "-f", "n" * 255])
def test_a_folder_that_cannot_be_written_gives_one_line(tmp_path, name):
    (tmp_path / name).write_text("a file")
    with (
        pytest.raises(OutputError, match="cannot write to the folder"),
        only_one(tmp_path / name / "x.lock", "taken"),
    ):
        pass


def enter_often(folder, times, barrier, inside, let_in):
    for _ in range(times):
        barrier.wait()
        try:
            with only_run_in(folder):
                with inside.get_lock():
                    inside.value += 1
                    let_in.value = max(let_in.value, inside.value)
                with inside.get_lock():
                    inside.value -= 1
        except OutputError:
            pass


def test_simultaneous_starts_let_one_in(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, inside, let_in = context.Barrier(3), context.Value("i", 0), context.Value("i", 0)
    shared = (tmp_path, 60, barrier, inside, let_in)
    processes = [context.Process(target=enter_often, args=shared) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert let_in.value == 1
