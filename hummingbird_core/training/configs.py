"""Dataclasses from nested mappings, such as a YAML file holds, with errors that name the key."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import InputError

Config = TypeVar("Config")

SCALAR_NAMES = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}


def from_mapping(kind: type[Config], values: Any, where: str) -> Config:
    """Build a dataclass from a mapping of its fields, nested ones included.

    Args:
        kind: the dataclass; its class method `from_mapping(values, where)` is used, if any.
        values: the mapping.
        where: its name for error messages.

    Raises:
        InputError: a key is unknown or missing, or a value is of the wrong kind or out of range.
    """
    check_mapping(values, where)
    if callable(own := getattr(kind, "from_mapping", None)):
        return own(values, where)
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind) if f.init}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise InputError(unknown_key(str(key), list(known), where))
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise InputError(f"got no {name} in {where}, expected one: add it")
    return kind(**{k: convert(hints[k], v, f"{where}: {k}") for k, v in values.items()})


def check_mapping(values: Any, where: str) -> None:
    """Raise InputError unless `values` is a mapping."""
    if not isinstance(values, Mapping):
        raise InputError(f"got {values!r} for {where}, expected keys with values: see the recipes")


def unknown_key(key: str, known: Sequence[str], where: str) -> str:
    """Return the error line for a key that is not among `known`."""
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "leave it out"
    return f"got key {key!r} in {where}, expected one of {', '.join(known)}: {hint}"


def convert(hint: Any, value: Any, where: str) -> Any:
    """Convert `value` to the type `hint` of a field; raise InputError if it is of another."""
    if hint is Any:
        return value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):  # optional fields are `X | None`
        return None if value is None else convert(arguments[0], value, where)
    if is_dataclass(hint):
        return from_mapping(hint, {} if value is None else value, where)  # type: ignore[arg-type]
    if origin is dict:
        check_mapping(value, where)
        return {str(k): convert(arguments[1], v, f"{where}: {k}") for k, v in value.items()}
    if origin is tuple:
        return _convert_list(arguments, value, where)
    if origin is Literal and value not in arguments:
        raise InputError(f"got {value!r} for {where}, expected one of {', '.join(arguments)}")
    return value if origin is Literal else _convert_scalar(hint, value, where)


def _convert_list(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        value = [value]
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise InputError(f"got {len(value)} values for {where}, expected {len(kinds)}: [5, 15]")
    return tuple(convert(kind, v, where) for kind, v in zip(kinds, value, strict=True))


def _convert_scalar(kind: type, value: Any, where: str) -> Any:
    is_number = isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        if kind is float and is_number and math.isfinite(float(value)):
            return float(value)  # YAML reads 1e-5, without a point, as text
        if kind is int and is_number and float(value).is_integer():
            return int(float(value))
    except (ValueError, OverflowError):
        pass
    if kind in (bool, str) and isinstance(value, kind):
        return value
    raise InputError(f"got {value!r} for {where}, expected {SCALAR_NAMES[kind]}")


def check_field(settings: Any, name: str, expected: str, is_good: bool) -> None:
    """Raise InputError for the field `name` of a settings object unless it `is_good`."""
    if not is_good:
        raise InputError(f"got {name} {getattr(settings, name)}, expected {expected}: change it")
