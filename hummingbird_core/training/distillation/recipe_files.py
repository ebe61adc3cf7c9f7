"""Recipes as YAML text: find, parse, change single values, and recognize keys of older versions.

Imports no torch, so that the command line can list the recipes at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...inputs.text import read_text
from ...inputs.yaml_text import MAX_YAML_BYTES, parse_yaml

FOLDER = resources.files(__package__).joinpath("recipes")
# Keys and values of older recipes: section -> old -> new.
RENAMED_KEYS = {
    "noise": {
        "guided_from": "cfg_start_timestep",
        "latent_scale": "dynamic_rescale",
        "pure_last_step": "zero_terminal_snr",
        "picture_range": "clip_denoised",
    }
}
RENAMED_VALUES = {"noise": {"samples": {"student": "on_policy"}, "timesteps": {"slots": "bins"}}}


def recipe_names() -> list[str]:
    """Return the names of the recipes in the package."""
    names = (file.name for file in FOLDER.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def recipe_text(name_or_path: str | Path) -> tuple[str, str]:
    """Return the text of a recipe with its comments, and its name for error messages.

    Args:
        name_or_path: one of `recipe_names()`, or a YAML file.

    Raises:
        InputError: there is no such recipe.
    """
    name = str(name_or_path)
    if name in recipe_names():
        return FOLDER.joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"recipe {name}"
    path = Path(name_or_path)
    try:
        return read_text(path, MAX_YAML_BYTES), path.name
    except InputError as error:
        raise InputError(
            f"got recipe {name!r}, expected a YAML file or one of {', '.join(recipe_names())}: "
            f"{error}"
        ) from error


def recipe_mapping(text: str, origin: str, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Parse a recipe into nested mappings.

    Args:
        text: YAML.
        origin: name for error messages.
        changes: values on top of the text, as "training.steps=100".

    Raises:
        InputError: the text is no YAML, a change is malformed, or a key has another name now.
    """
    values = _parse(text, origin)
    for change in changes:
        _apply(values, change)
    for where, old, new in _old_names(values):
        raise InputError(f"got {old} in {origin}: {where}, which is called {new!r} now: rename it")
    return values


def record_mapping(text: str, origin: str) -> dict[str, Any]:
    """Parse the recipe that a run has kept, with the names of today's keys."""
    values = _parse(text, origin)
    for section, keys in RENAMED_KEYS.items():
        names = RENAMED_VALUES[section]
        given = values.get(section) or {}
        values[section] = {
            keys.get(key, key): names.get(key, {}).get(str(value), value)
            for key, value in given.items()
        }
    return values


def _old_names(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield where a name of older versions stands, that name with its kind, and today's name."""
    for section, keys in RENAMED_KEYS.items():
        given = values.get(section)
        if not isinstance(given, Mapping):
            continue
        yield from ((section, f"key {k!r}", keys[k]) for k in given if k in keys)
        for key, names in RENAMED_VALUES[section].items():
            if (value := str(given.get(key))) in names:
                yield f"{section}: {key}", repr(value), names[value]


def _parse(text: str, origin: str) -> dict[str, Any]:
    values = parse_yaml(text, origin)
    if not isinstance(values, dict):
        raise InputError(f"got {origin} without sections, expected `training:` and `objectives:`")
    return values


def _apply(values: dict[str, Any], change: str) -> None:
    """Set one value, as "training.steps=100"."""
    keys, equals, text = change.partition("=")
    *sections, last = keys.strip().split(".")
    if not equals or not last:
        raise InputError(f"got {change!r}, expected KEY=VALUE such as training.steps=100")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    try:
        values[last] = parse_yaml(text, "a value")
    except InputError as error:
        raise InputError(f"got {change!r}, whose value is no YAML: put it in quotes") from error
