r"""The one door to the terminal and to logs: every line is printable, and stays one line.

Names of files and tensors, metadata and answers of servers may hold escape sequences, which set a
terminal's clipboard or title, and line breaks, which forge further lines. Both are shown as
escapes, such as `\x1b` and `\n`.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys

from .errors import printable

_CLOSED = (errno.EPIPE, errno.EINVAL)  # of a pipe without a reader; Windows has the second
CLOSED_PIPE_CODE = 141  # exit code of a program ended by a closed pipe: 128 + SIGPIPE


class ClosedOutputError(OSError):
    """The standard output takes no more text: its pipe was closed, or its disk is full."""


def print_line(text: str) -> None:
    """Print one line on the standard output.

    Raises:
        ClosedOutputError: the standard output takes no more text.
    """
    try:
        print(printable(text), flush=True)
    except OSError as error:
        raise ClosedOutputError(error.errno, error.strerror) from error


def print_text(text: str) -> None:
    """Print a text of several lines, such as a table, whose line breaks are our own."""
    for line in text.split("\n"):
        print_line(line)


def print_error(text: str) -> None:
    """Print one line on the standard error, if anybody reads it."""
    try:
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody is left to tell


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module; each of its messages is one printable line."""
    logger = logging.getLogger(name)
    logger.addFilter(one_line_record)
    return logger


def one_line_record(record: logging.LogRecord) -> bool:
    """Make a record's message one printable line: a filter for loggers and handlers."""
    record.msg, record.args = printable(record.getMessage()), None
    return True


def prepare_streams() -> None:
    """Let the standard output and error take any text, whatever their encoding is.

    A terminal keeps its encoding, and shows what it lacks as escapes. Files and pipes get UTF-8,
    which is what this package reads, unless PYTHONIOENCODING says otherwise.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell's `>&-`, or a program without a console
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            keeps_encoding = stream.isatty() or bool(os.environ.get("PYTHONIOENCODING"))
            stream.reconfigure(
                encoding=None if keeps_encoding else "utf-8", errors="backslashreplace"
            )


def flush_output() -> None:
    """Write out what is left in the buffer of the standard output.

    Raises:
        ClosedOutputError: the standard output takes no more text.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        raise ClosedOutputError(error.errno, error.strerror) from error


def abandon_output(error: ClosedOutputError) -> int:
    """Return the exit code for a closed standard output, and drop the rest of the output.

    A reader that has enough, such as `head`, is no fault: nothing is said. Otherwise one line is.
    """
    with open(os.devnull, "wb") as nothing:  # the interpreter flushes again when it ends
        os.dup2(nothing.fileno(), sys.stdout.fileno())
    if error.errno in _CLOSED:
        return CLOSED_PIPE_CODE
    print_error(
        f"hummingbird: error: cannot write to the standard output: {error.strerror}; free some "
        "space, or write to another place"
    )
    return 2
