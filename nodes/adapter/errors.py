"""Errors that name the input of a node; the core knows no nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...hummingbird_core.errors import HummingbirdError, InputError


@contextmanager
def naming(inputs: str) -> Iterator[None]:
    """Prefix errors raised inside with the name of the input, or inputs, to change."""
    try:
        yield
    except HummingbirdError as error:
        raise type(error)(f"input {inputs}: {error}") from error


def absent(input_name: str) -> InputError:
    """Return the error for an input that is None because the checkpoint lacks that component."""
    part = input_name.upper()
    return InputError(
        f"input {input_name}: got nothing, expected a {part}: the checkpoint has none, connect "
        f"the {part} of another Load Hummingbird"
    )
