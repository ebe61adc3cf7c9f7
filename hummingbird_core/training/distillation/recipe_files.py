"""The recipes in the package, as they are written: with comments."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ...errors import InputError

FOLDER = resources.files(__package__).joinpath("recipes")


def recipe_names() -> list[str]:
    """The recipes in the package."""
    names = (file.name for file in FOLDER.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def recipe_text(name_or_path: str | Path) -> tuple[str, str]:
    """The text of a recipe, and what to call it.

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
        return path.read_text(encoding="utf-8-sig"), path.name  # Windows editors add a mark
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"got recipe {name!r}, expected a YAML file or one of {', '.join(recipe_names())}: "
            "choose one"
        ) from error
