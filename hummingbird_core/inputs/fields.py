"""Fields of JSON objects: kinds and ranges, checked before anything is made from them.

check_fields(values, {"frames": Whole(1, 100), "loop": Flag()}, "the config")
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import InputError


class Kind(Protocol):
    """Values that a field may have."""

    @property
    def expected(self) -> str:
        """Description of the values, for errors."""
        ...

    def accepts(self, value: Any) -> bool:
        """Return whether the field may have this value."""
        ...


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`; true and false are none."""

    low: int
    high: int

    @property
    def expected(self) -> str:
        """Description of the values, for errors."""
        return f"a whole number from {self.low} to {self.high}"

    def accepts(self, value: Any) -> bool:
        """Return whether the value is such a number."""
        return type(value) is int and self.low <= value <= self.high


@dataclass(frozen=True)
class Number:
    """Finite numbers from `low` to `high`."""

    low: float
    high: float

    @property
    def expected(self) -> str:
        """Description of the values, for errors."""
        return f"a number from {self.low:g} to {self.high:g}"

    def accepts(self, value: Any) -> bool:
        """Return whether the value is such a number; NaN is in no range."""
        return type(value) in (int, float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Flag:
    """True and false."""

    expected: str = "true or false"

    def accepts(self, value: Any) -> bool:
        """Return whether the value is one of the two."""
        return isinstance(value, bool)


@dataclass(frozen=True)
class Text:
    """Texts of at most `length` characters."""

    length: int = 1000

    @property
    def expected(self) -> str:
        """Description of the values, for errors."""
        return f"text of at most {self.length} characters"

    def accepts(self, value: Any) -> bool:
        """Return whether the value is such a text."""
        return isinstance(value, str) and len(value) <= self.length


@dataclass(frozen=True)
class ListOf:
    """Lists of at least `low` and at most `high` values of one kind."""

    kind: Kind
    low: int
    high: int

    @property
    def expected(self) -> str:
        """Description of the values, for errors."""
        return f"a list of {self.low} to {self.high} values, each {self.kind.expected}"

    def accepts(self, value: Any) -> bool:
        """Return whether the value is such a list."""
        is_list = isinstance(value, list | tuple) and self.low <= len(value) <= self.high
        return is_list and all(self.kind.accepts(item) for item in value)


@dataclass(frozen=True)
class Optional:
    """Values of a kind, or null."""

    kind: Kind

    @property
    def expected(self) -> str:
        """Description of the values, for errors."""
        return f"{self.kind.expected}, or null"

    def accepts(self, value: Any) -> bool:
        """Return whether the value is null or of the kind."""
        return value is None or self.kind.accepts(value)


def check_fields(values: Any, kinds: Mapping[str, Kind], where: str) -> dict[str, Any]:
    """Check the fields of a JSON object; each of them may be missing.

    Args:
        values: the object.
        kinds: what each field may be, by name.
        where: name of the object, for errors.

    Returns:
        the object.

    Raises:
        InputError: it is no object, or has a field that is unknown or of another kind.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where} is {reprlib.repr(values)}, expected an object with fields")
    for name, value in values.items():
        kind = kinds.get(name)
        if kind is None:
            raise InputError(
                f"{where} has the unknown field {reprlib.repr(name)}, expected "
                f"{', '.join(kinds)}: a newer version may know it"
            )
        if not kind.accepts(value):
            raise InputError(f"{where} has {name} {reprlib.repr(value)}, expected {kind.expected}")
    return dict(values)
