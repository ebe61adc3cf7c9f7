"""SIGTERM and SIGHUP end a run as Ctrl-C does: nothing temporary stays, the exit code says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from support.paths import ROOT

from hummingbird_core.cli.signals import TerminatedError, terminated_like_ctrl_c

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from hummingbird_core import cli
from hummingbird_core.files import atomic_write

def wait(argv):
    with atomic_write(Path(sys.argv[1])) as temporary:
        temporary.write_text("half")
        print("writing", flush=True)
        time.sleep(60)

cli._run = wait
sys.exit(cli.main([]))
"""


def listen():
    """Undo what a child would inherit from tests in the background or under nohup."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_terminated_run_leaves_nothing_half_written(tmp_path, number, code):
    command = [sys.executable, "-c", WRITE_AND_WAIT, str(tmp_path / "a.mp4")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, text=True, preexec_fn=listen, **pipes)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert err == "hummingbird: interrupted; finished work is kept\n"
    assert not list(tmp_path.iterdir())


@pytest.fixture
def default_handlers():
    """Ray, where an earlier test used it, leaves a handler of SIGTERM that ends the process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("default_handlers")
def test_handlers_are_put_back_and_ignored_signals_stay_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with terminated_like_ctrl_c():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with pytest.raises(TerminatedError):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # the second one ends it
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("default_handlers")
def test_a_handler_of_the_host_stays():
    def handler(number, frame):
        raise AssertionError

    signal.signal(signal.SIGTERM, handler)
    with terminated_like_ctrl_c():
        assert signal.getsignal(signal.SIGTERM) is handler
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.usefixtures("default_handlers")
def test_another_thread_leaves_signals_alone():
    entered = []

    def enter():
        with terminated_like_ctrl_c():
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [signal.SIG_DFL]
