"""Values of settings that can't be, refused with their names."""

from __future__ import annotations

from typing import Any

from ..errors import InputError


def check_field(settings: Any, name: str, expected: str, is_good: bool) -> None:
    """Raises InputError for the field `name` of a settings object unless it `is_good`."""
    if not is_good:
        raise InputError(f"got {name} {getattr(settings, name)}, expected {expected}: change it")
