"""Output: printable lines whatever files and names hold, in any encoding, to pipes that close."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.command_line import CLI, run
from support.paths import ROOT

from hummingbird_core.errors import HummingbirdError, InputError, first_line, one_line, printable
from hummingbird_core.prompts.backends.server_errors import ServerError
from hummingbird_core.reporting import report_lines
from hummingbird_core.terminal import get_logger, one_line_record

# Sets the clipboard, clears the screen, forges a line.
ATTACK = "\x1b]52;c;Y3VybCBldmlsfHNo\x07\x1b[2J\nhummingbird: all is well"
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run `command` in a shell, where $HB is the command line."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "HB": " ".join(CLI), **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("two\nlines\r\tand a tab", r"two\nlines\r\tand a tab"),
        ("C1 \x9b31m", r"C1 \x9b31m"),
        ("NUL \0 BEL \a DEL \x7f", r"NUL \x00 BEL \x07 DEL \x7f"),
        ("a\u2028b\u2029c\u0085d", r"a\u2028b\u2029c\x85d"),
        ("fdp\u202egnp.exe", r"fdp\u202egnp.exe"),
        ("\u2066isolated\u2069 \ufeff", r"\u2066isolated\u2069 \ufeff"),
        ("half \ud83d of a pair", r"half \ud83d of a pair"),
        ("caf\udce9.mp4", r"caf\udce9.mp4"),
        ("hidden\U000e0041tag", r"hidden\U000e0041tag"),
    ],
)
def test_what_controls_the_display_is_shown_as_an_escape(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("ein Fuchs", "狐狸　在 雪地", "лиса в снегу", "ثعلب في الثلج", "👩‍🚀 🦊❄️", "می‌خواهم"),
        *("non\u00a0breaking", r"C:\new\table", "combining e\u0301"),
    ],
)
def test_text_of_all_languages_stays(text):
    assert printable(text) == text


@settings(deadline=2000)
@given(st.text(st.characters(), max_size=300))
def test_any_text_becomes_one_printable_line(text):
    line = printable(text)
    assert line.splitlines() in ([line], [])
    assert line.encode() is not None  # no half of a surrogate pair
    assert printable(line) == line
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in line)


@settings(deadline=2000)
@given(st.text(st.characters(), max_size=100))
def test_any_text_in_an_error_or_a_log_is_one_printable_line(text):
    record = logging.LogRecord("x", logging.WARNING, "", 0, "of %s", (text,), None)
    one_line_record(record)
    lines = [
        str(InputError(f"got {text}")),
        first_line(ValueError(text)),
        one_line(ValueError(text)),
        record.getMessage(),
        *report_lines({text: {text: [text]}}),
    ]
    assert [printable(line) for line in lines] == lines


@pytest.mark.parametrize("kind", [HummingbirdError, InputError, ServerError])
def test_an_error_of_any_kind_is_one_line(kind):
    assert str(kind(f"cannot read {ATTACK}")).startswith(r"cannot read \x1b]52;c;Y3")
    assert "\n" not in str(kind(ATTACK))


def test_a_log_line_is_one_line(caplog):
    get_logger("hummingbird_core.example").warning("%s cannot be read", f"x{ATTACK}.mp4")
    assert caplog.messages == [
        r"x\x1b]52;c;Y3VybCBldmlsfHNo\x07\x1b[2J\nhummingbird: all is well.mp4 cannot be read"
    ]


# names and metadata of files


def checkpoint(path: Path) -> Path:
    tensors = {"x": torch.zeros(1), f"y{ATTACK}": torch.zeros(1)}
    save_file(tensors, path, {"hummingbird.licence": f"free{ATTACK}", f"key{ATTACK}": "value"})
    return path


def hostile_pickle(path: Path) -> Path:
    name = f"system{ATTACK}".encode()
    path.write_bytes(b"\x80\x02X\x02\0\0\0osX" + len(name).to_bytes(4, "little") + name + b"\x93.")
    return path


@posix
@pytest.mark.parametrize("command", ["info", "score", "convert", "curate", "generate", "option"])
def test_no_control_character_of_a_file_or_name_reaches_the_terminal(capsys, tmp_path, command):
    odd = tmp_path / f"odd{ATTACK.replace('/', '')}"
    odd.mkdir()
    (odd / f"x{ATTACK}.mp4").write_bytes(b"nothing")
    files = (checkpoint(odd / "a.safetensors"), hostile_pickle(odd / "b.pt"), odd / "absent.pt")
    arguments = {
        "info": [["info", path] for path in files],
        "score": [["score", odd / f"x{ATTACK}.mp4", *how] for how in ([], ["--csv"], ["--json"])],
        "convert": [["convert", path, odd / "c.safetensors"] for path in files],
        "curate": [["curate", odd, "-o", tmp_path / f"out{ATTACK}"]],
        "generate": [["generate", "a fox", "--model", path, "-o", odd / "v.mp4"] for path in files],
        "option": [["info", "a", f"--{ATTACK}"], ["generate", "x", "--steps", ATTACK], [ATTACK]],
    }[command]
    for line in arguments:
        _, out, err = run(capsys, *line)
        assert not set("\x1b\x07") & set(out + err), line
        forged = [text for text in (out + err).splitlines() if text.startswith("hummingbird: all")]
        assert not forged, line


def test_the_report_of_a_curation_holds_no_control_character(capsys, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "in").mkdir()
    name = "<img src=x>.mp4" if sys.platform != "win32" else "x.mp4"
    (tmp_path / "in" / name).write_bytes(b"nothing")
    if sys.platform != "win32":
        (tmp_path / "in" / f"x{ATTACK}.mp4").write_bytes(b"nothing")
    run(capsys, "curate", tmp_path / "in", "-o", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not set("\x1b\x07") & set(page)
    assert "<img src=x" not in page


# encodings and pipes

FOX = 'enhance "a fox 🦊 in snow — é"'


@posix
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp932"])
def test_an_output_that_lacks_a_letter_gets_its_escape(encoding):
    done = shell(f"$HB {FOX}", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\U0001f98a" in done.stdout


@posix
@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX"},
        {"LC_ALL": "C.UTF-8"},
    ],
)
def test_files_and_pipes_get_the_encoding_that_is_read_again(tmp_path, locale):
    (tmp_path / "p.txt").write_text("a fox 🦊 in snow\na café\n", encoding="utf-8")
    shell(f"$HB enhance --prompts {tmp_path}/p.txt > {tmp_path}/better.txt", **locale)
    first, second = (tmp_path / "better.txt").read_text(encoding="utf-8").splitlines()
    assert first.startswith("a fox 🦊 in snow,")
    assert second.startswith("a café,")


@posix
@pytest.mark.parametrize("command", ["--help", "train recipe nano-distil", "download", FOX])
def test_a_closed_pipe_ends_the_command_silently(command):
    # `true` ends at once; wait for it, so that the pipe is closed before the first line.
    done = shell(f"(sleep 0.3; $HB {command}) | true; exit ${{PIPESTATUS[0]}}")
    assert done.returncode in (0, 2, 141)
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


@posix
def test_a_closed_pipe_has_the_exit_code_of_its_signal():
    done = shell(f"(sleep 0.3; $HB {FOX}) | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["--help", "train", "train recipe nano-distil", FOX])
def test_a_full_disk_is_said_in_one_line(command):
    done = shell(f"$HB {command} > /dev/full")
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert line.startswith("hummingbird: error: cannot write to the standard output: No space")


@posix
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(("command", "code"), [(FOX, 0), ("enhance --prompts absent.txt", 2)])
def test_a_missing_output_stops_nothing(command, code, closed):
    done = shell(f"$HB {command} {closed}")
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


@posix
@pytest.mark.parametrize("command", ["enhance", "train recipe", ""])
def test_an_undecodable_argument_is_refused_in_one_line(command):
    done = shell(f"$HB {command} $'a caf\\xe9'")
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert r"a caf\udce9" in line


def test_a_file_of_an_undecodable_name_is_named(capsys, tmp_path):
    code, out, _ = run(capsys, "score", tmp_path / "caf\udce9.mp4")
    assert code == 2
    assert r"caf\udce9.mp4" in out
