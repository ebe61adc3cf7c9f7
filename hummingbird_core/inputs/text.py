"""Text that people give: encodings, line ends, sizes and pipes."""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError

MAX_TEXT_BYTES = 64 << 20  # half a million prompts
MAX_PROMPT = 10_000  # characters; longer texts are documents, not prompts
_CHUNK = 1 << 20  # bytes
_MARK = "\ufeff"  # byte order mark, as a character; also found where two files were joined
# Longest first: UTF-32's mark begins with UTF-16's.
_ENCODINGS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_NOT_TEXT = {
    "\0": "holds NUL characters, as UTF-16 without a byte order mark does",
    "\x1b": "holds escape characters, as ISO-2022 does",
}
_NO_TEXT = re.compile("[\0\x1b\ud800-\udfff]")
_WEB_PAGE = (b"<!doctype html", b"<html", b"<head")
WEB_PAGE_ADVICE = "its address asks for a login, or shows the file; use the address of the download"


def read_text(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Read a text file, or all text that comes through a pipe.

    Args:
        path: UTF-8, or UTF-16 or UTF-32 with a byte order mark.
        max_bytes: a larger file is refused before it is read.

    Raises:
        InputError: the file cannot be read, is too large, or is not text.
    """
    return decode_text(read_bytes(path, max_bytes), path.name)


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a whole file, or all that comes through a pipe.

    Raises:
        InputError: the file cannot be read, or is larger than `max_bytes`.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size  # of a pipe it is 0
            data = _read_until(file, max_bytes) if size <= max_bytes else None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}") from error
    if data is None:
        raise InputError(
            f"{path.name} is larger than {max_bytes:,} bytes, expected a smaller file: split it"
        )
    return data


def _read_until(file: BinaryIO, max_bytes: int) -> bytes | None:
    """Read to the end in small pieces; None if there is more than `max_bytes`."""
    chunks, total = [], 0
    while chunk := file.read(_CHUNK):
        chunks.append(chunk)
        total += len(chunk)
        if total > max_bytes:
            return None
    return b"".join(chunks)


def decode_text(data: bytes, name: str) -> str:
    """Decode the bytes of a text file, without its byte order mark; nothing is ever replaced.

    Args:
        data: UTF-8, or UTF-16 or UTF-32 with a byte order mark.
        name: of the file, for errors.

    Raises:
        InputError: the bytes are something else, or a web page that stands for the file.
    """
    if is_web_page(data):
        raise InputError(f"{name} is a web page, expected text: {WEB_PAGE_ADVICE}")
    mark, encoding = _encoding_of(data)
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not {encoding.upper()} text (byte {error.start + len(mark) + 1} of "
            f"{len(data)}): save it as UTF-8"
        ) from error
    if reason := reason_not_text(text):
        raise InputError(f"{name} {reason}: save it as UTF-8")
    return text


def is_web_page(start: bytes) -> bool:
    """Return whether a file begins like HTML, which servers send in place of a file."""
    return start[:256].lstrip(b"\xef\xbb\xbf\r\n\t ").lower().startswith(_WEB_PAGE)


def open_text(file: BinaryIO) -> io.TextIOWrapper:
    """Wrap a binary file for reading line by line; lines keep their ends.

    Bytes that are no text become half surrogate pairs, which `reason_not_text` finds: they cost
    their line only.
    """
    mark, encoding = _encoding_of(file.read(4))
    file.seek(len(mark))
    errors = "surrogateescape" if encoding == "utf-8" else "surrogatepass"
    return io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")


def _encoding_of(start: bytes) -> tuple[bytes, str]:
    """Return the byte order mark at the start of a file, and its encoding."""
    found = (mark for mark in _ENCODINGS if start.startswith(mark))
    mark = next(found, b"")
    return mark, _ENCODINGS.get(mark, "utf-8")


def reason_not_text(text: str) -> str:
    """Return why a string is no text, such as "holds NUL characters"; "" if it is text."""
    found = _NO_TEXT.search(text)
    if not found:
        return ""
    return _NOT_TEXT.get(found[0], "holds bytes that are not UTF-8, or half a surrogate pair")


def describe(value: Any) -> str:
    """Return a value in at most 60 characters, for an error; of a list or object its type."""
    is_plain = value is None or isinstance(value, str | int | float)
    text = repr(value) if is_plain else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def as_unicode(text: str) -> str:
    """Escape half surrogate pairs, such as bytes of a file name, which no file can hold."""
    return text.encode("utf-8", errors="backslashreplace").decode()


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    r"""Yield the lines with text in them, without surrounding blanks, each with its number from 1.

    Lines end at \n, \r\n or \r only. Other separators, such as U+2028, may stand in a line.
    """
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        stripped = line.strip().strip(_MARK).strip() if line else ""
        if stripped and any(char.isprintable() for char in stripped):
            yield number, stripped


def check_prompt(prompt: Any) -> None:
    """Raise InputError if `prompt` is not a text of sensible length."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError("got an empty prompt, expected text: describe what the video should show")
    if len(prompt) > MAX_PROMPT:
        raise InputError(
            f"got a prompt of {len(prompt):,} characters, expected at most {MAX_PROMPT:,}: "
            "shorten it"
        )
    if reason := reason_not_text(prompt):
        raise InputError(
            f"got the prompt {describe(prompt)}, which {reason}, expected text: check the encoding "
            "of the terminal or file"
        )
