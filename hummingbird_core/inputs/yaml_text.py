"""YAML that people give."""

from __future__ import annotations

from functools import cache
from typing import Any

from ..errors import InputError, one_line

MAX_YAML_BYTES = 1 << 15  # recipes have 4 kB; the parser is slow
MAX_DEPTH = 30  # the time of the parser grows with its square


def parse_yaml(text: str, name: str) -> Any:
    """Parse YAML of plain values.

    Args:
        text: without aliases, which could repeat each other without end.
        name: of the file, for errors.

    Raises:
        InputError: the text is something else, or longer than `MAX_YAML_BYTES`.
    """
    import yaml

    if len(text.encode("utf-8", errors="replace")) > MAX_YAML_BYTES:
        raise InputError(f"got {name} of more than {MAX_YAML_BYTES:,} bytes: shorten it")
    try:
        return yaml.load(text, _plain_loader())
    except InputError as error:
        raise InputError(f"got {name}, which {error}") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:  # such as a date of month 13
        reason = one_line(error, max_length=400)
        raise InputError(f"got {name}, which is no YAML ({reason}): correct it") from error


@cache
def _plain_loader() -> Any:
    import yaml

    class PlainLoader(yaml.SafeLoader):
        """YAML's safe loader without aliases and deep nesting."""

        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise InputError("has an alias (*name), expected none: write it out")
            if self.depth == MAX_DEPTH:
                raise InputError("is nested too deeply: flatten it")
            self.depth += 1
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    return PlainLoader
