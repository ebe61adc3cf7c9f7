"""Exceptions of the package, and printable lines of any text.

Every message says in one line what was got, what was expected and what to do: the command line
prints it unchanged and exits with 2, a node shows it in its error box.
"""

from __future__ import annotations

import errno
import re
import unicodedata

# ComfyUI shows `type(error).__module__` to users. Python's own value starts, for a package in
# custom_nodes, with the path of that folder on the user's disk.
MODULE = "hummingbird_core.errors"

_OUT_OF_MEMORY = re.compile(
    r"(can't|cannot) allocate memory|not enough memory|out of memory", re.IGNORECASE
)
_REQUESTED = re.compile(r"allocate (\d\S* \w+)")

# Faults of the machine, by their number in the operating system.
_MACHINE_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EFBIG: "the file exceeds what the file system or a limit (ulimit -f) allows: raise it "
    "or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: check who may use it, or choose another folder",
    errno.ESTALE: "the network drive was lost: connect it again",
    errno.EIO: "the disk or network drive failed: check it and try again",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine: close some programs",
    errno.ENOMEM: "the memory is full: close some programs",
    errno.ENAMETOOLONG: "the name is too long for this file system: choose a shorter one",
}
_OS_ERROR_NUMBER = re.compile(r"\(os error (\d+)\)")  # of libraries written in Rust
# torch.save hides the reason; a stream that cannot be written to is a full disk in practice.
_FAILED_WRITE = re.compile(r"PytorchStreamWriter failed writing|file write failed")


# Controls, halves of surrogate pairs (undecodable names have some), line and paragraph separators.
_HIDDEN = ("Cc", "Cs", "Zl", "Zp")
# Invisible characters that words need: Persian and Indic letters, emoji of several parts.
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def is_hidden(char: str) -> bool:
    """Return whether a character controls the display, or would not be seen in it."""
    category = unicodedata.category(char)
    return category in _HIDDEN or (category == "Cf" and char not in JOINERS)


def printable(text: str) -> str:
    r"""Return the text with control characters, line breaks included, as escapes like `\x1b`.

    All letters of all languages stay. A printable text is returned unchanged.
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if is_hidden(char) else char for char in text
    )


class HummingbirdError(Exception):
    """Base of all errors that the user can resolve; the message is one printable line."""

    __module__ = MODULE

    def __str__(self) -> str:
        """Return the message; names and answers in it may hold control characters."""
        return printable(super().__str__())


class InputError(HummingbirdError, ValueError):
    """An argument is out of range or of the wrong kind (size, steps, seed, prompt, preset ...)."""

    __module__ = MODULE


class CheckpointError(HummingbirdError, ValueError):
    """A weights file is damaged, of an unknown kind, or does not match the model."""

    __module__ = MODULE


class UnsafeCheckpointError(CheckpointError):
    """A pickle names code to run, besides tensors and plain data; nothing was run."""

    __module__ = MODULE


class DownloadError(HummingbirdError, OSError):
    """A download failed: offline, not found, refused, or corrupted."""

    __module__ = MODULE


class OutputError(HummingbirdError, OSError):
    """A result could not be written: no space, no permission, or an unknown format."""

    __module__ = MODULE


class NumericalError(HummingbirdError, ArithmeticError):
    """A tensor holds NaN or infinity instead of finite values."""

    __module__ = MODULE


class MissingPackageError(HummingbirdError, ImportError):
    """An optional package is missing; the message says how to install it."""

    __module__ = MODULE


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type name if that is empty."""
    lines = str(error).strip().splitlines()
    return printable(lines[0]) if lines else type(error).__name__


def one_line(error: BaseException, max_length: int = 200) -> str:
    """Return an exception's whole message in one line of at most `max_length` letters."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= max_length else f"{text[: max_length - 3]}..."


def memory_advice(error: BaseException) -> str | None:
    """Return one line of advice for an out-of-memory error, None for any other error.

    PyTorch raises OutOfMemoryError for a full GPU and a RuntimeError for full RAM.
    """
    text = str(error)
    is_full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not is_full and not (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(text)):
        return None
    requested = _REQUESTED.search(text)
    return (
        f"the memory is full{f' ({requested[1]} more were needed)' if requested else ''}: "
        "choose fewer or smaller frames, or a smaller batch; `hummingbird generate` also has "
        "--memory, and `hummingbird doctor` says what fits"
    )


def machine_advice(error: BaseException) -> str | None:
    """Return one line of advice for a fault of the machine, None for any other error.

    Such faults are a full or broken disk, too many open files, or a name that the file system
    cannot hold. Libraries report them as an OSError or as text in their own errors.
    """
    number = error.errno if isinstance(error, OSError) else None
    found = _OS_ERROR_NUMBER.search(str(error))
    if number is None and found:
        number = int(found[1])
    if number is None and isinstance(error, RuntimeError) and _FAILED_WRITE.search(str(error)):
        number = errno.ENOSPC
    return _MACHINE_ADVICE.get(number) if number is not None else None
