"""Errors of the core, which knows no nodes, with the input of a node that they are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...hummingbird_core.errors import HummingbirdError, InputError


@contextmanager
def naming(inputs: str) -> Iterator[None]:
    """Puts the name of an input, or several, before the message of an error from inside."""
    try:
        yield
    except HummingbirdError as error:
        raise type(error)(f"input {inputs}: {error}") from error


def absent(input_name: str) -> InputError:
    """For a part that a checkpoint may lack: its output of Load Hummingbird is then None."""
    part = input_name.upper()
    return InputError(
        f"input {input_name}: got nothing, expected a {part}: the checkpoint holds none, take the "
        f"{part} of another Load Hummingbird"
    )
