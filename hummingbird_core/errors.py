"""What can go wrong, as exceptions that a caller can tell apart.

Every message says what was got, what was expected and what to do, in one line: the command line
prints it as it is and exits with 2, a node shows it in its error box.
"""

from __future__ import annotations

import re

_FULL = re.compile(r"(can't|cannot) allocate memory|not enough memory|out of memory", re.IGNORECASE)
_ASKED_FOR = re.compile(r"allocate (\d\S* \w+)")


class HummingbirdError(Exception):
    """Base of all errors that the user can do something about."""


class InputError(HummingbirdError, ValueError):
    """An argument is out of range or of the wrong kind (size, steps, seed, prompt, preset ...)."""


class CheckpointError(HummingbirdError, ValueError):
    """A weights file is damaged, of an unknown kind, or does not fit the model."""


class UnsafeCheckpointError(CheckpointError):
    """A pickle asks for something that is neither a tensor nor inert data; nothing was run."""


class DownloadError(HummingbirdError, OSError):
    """A file could not be fetched: offline, not found, refused, or damaged on the way."""


class OutputError(HummingbirdError, OSError):
    """A result could not be written: no space, no permission, or an unknown format."""


class NumericalError(HummingbirdError, ArithmeticError):
    """A tensor holds NaN or infinity where a video was expected."""


class MissingPackageError(HummingbirdError, ImportError):
    """An optional package is needed for what was asked; the message says how to get it."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type name if that is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def one_line(error: BaseException, max_length: int = 200) -> str:
    """Return an exception's whole message in one line of at most `max_length` letters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= max_length else f"{text[: max_length - 3]}..."


def memory_advice(error: BaseException) -> str | None:
    """What to do when `error` says that the memory is full, in one line; None: it says otherwise.

    PyTorch has a class of its own for a full GPU, and a RuntimeError for a full RAM.
    """
    text = str(error)
    is_full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not is_full and not (isinstance(error, RuntimeError) and _FULL.search(text)):
        return None
    asked = _ASKED_FOR.search(text)
    return (
        f"the memory is full{f' ({asked[1]} more were needed)' if asked else ''}: "
        "choose fewer or smaller frames, or a smaller batch; `hummingbird generate` also has "
        "--memory, and `hummingbird doctor` says what fits"
    )
