"""Parts from outside the package, named `MODULE:NAME`: their options and their code.

Objectives are dataclasses whose fields are keys of the recipe. Other parts (rewards, judges, clip
sources) are classes or functions, called with the mapping `options` of the recipe as keyword
arguments.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from ..errors import InputError
from ..files import import_callable, sha256_of_file
from .configs import convert, unknown_key

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def make_outside(kind: str, role: str, options: Mapping[str, Any], *arguments: Any) -> Any:
    """Import a part and call it.

    Args:
        kind: `MODULE:NAME` of a class or function.
        role: what the part is, for errors.
        options: keyword arguments; values are converted to the types that it declares.
        arguments: positional ones.

    Raises:
        InputError: it cannot be imported, or an option is unknown, missing or of another type.
    """
    make = import_callable(kind, role)
    checked = _checked_options(make, options, f"options of the {role} {kind}", len(arguments))
    return make(*arguments, **checked)


def _checked_options(
    make: Callable[..., Any], options: Mapping[str, Any], where: str, positional: int
) -> dict[str, Any]:
    try:
        parameters = list(inspect.signature(make).parameters.values())
    except (TypeError, ValueError):  # a function of C without a signature checks for itself
        return dict(options)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    known = {p.name: p for p in parameters[positional:] if p.kind in NAMED}
    for name in options:
        if name not in known and not takes_any:
            raise InputError(unknown_key(name, list(known), where))
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            raise InputError(f"got no {name} in the {where}, expected one: add it to `options`")
    hints = _hints(make)
    return {
        name: convert(hints[name], value, f"the {where}: {name}") if name in hints else value
        for name, value in options.items()
    }


def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    """Return the declared types of parameters that `configs.convert` knows."""
    try:
        hints = get_type_hints(make.__init__ if isinstance(make, type) else make)  # type: ignore[misc]
    except (NameError, TypeError):  # names that are imported for type checkers only
        return {}
    return {name: hint for name, hint in hints.items() if hint in (bool, int, float, str)}


def no_options(kind: str, role: str, options: Mapping[str, Any]) -> None:
    """Raise InputError for options of a built-in part, which has none."""
    if options:
        raise InputError(
            f"got options {', '.join(options)} for the {role} {kind}, expected none: only parts "
            "from outside, MODULE:NAME, have them"
        )


def code_hashes(names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of the files of outside modules, by module.

    Args:
        names: `MODULE:NAME`, or anything without a colon, which is left out.
    """
    modules = sorted({name.partition(":")[0] for name in names if ":" in name})
    found = {module: _source_of(module) for module in modules}
    return {module: sha256_of_file(path)[:16] for module, path in found.items() if path}


def _source_of(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    path = Path(spec.origin) if spec and spec.origin else None
    return path if path and path.is_file() else None
