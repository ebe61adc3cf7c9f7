"""Files of selection rules, as people edit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from ..inputs.json_text import read_json
from .selection import DEFAULT_RULES, OTHER_SETTINGS, Limit, Rule, SelectionConfig


def read_selection(path: Path) -> SelectionConfig:
    """Read settings from a JSON file; missing entries keep their default, `null` removes a rule.

        {"rules": {"blur": {"max": 0.5}, "overall": {"min": "q0.2"}, "dolly_zoom": null},
         "duplicate_distance": 16, "best_by": "overall", "clips_per_scene": 3}

    Raises:
        InputError: the file cannot be read or has unknown content.
    """
    given = read_json(path)
    if not isinstance(given, dict) or not isinstance(given.get("rules", {}), dict):
        raise InputError(f'got {path.name} without an object of "rules": see curate --help')
    rules = dict(DEFAULT_RULES)
    for column, limits in given.pop("rules", {}).items():
        rules.pop(column, None)
        if limits is not None:
            rules[column] = _parse_rule(column, limits)
    try:
        return SelectionConfig(rules=rules, **given)
    except TypeError as error:
        raise InputError(
            f"got {', '.join(given)} in {path.name}, expected rules, duplicate_distance, best_by, "
            f"{', '.join(OTHER_SETTINGS)} only"
        ) from error


def _parse_rule(column: str, limits: Any) -> Rule:
    if not isinstance(limits, dict) or not limits or set(limits) - {"min", "max"}:
        raise InputError(f'got rule {limits!r} for {column}, expected {{"min": ..., "max": ...}}')
    minimum, maximum = (
        Limit.parse(limits[name]) if name in limits else None for name in ("min", "max")
    )
    return Rule(minimum, maximum)
