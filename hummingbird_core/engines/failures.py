"""Stop a run in which everything fails for one reason, such as a full disk."""

from __future__ import annotations

import re
from pathlib import PurePath

from ..errors import HummingbirdError

MAX_ALIKE = 20  # failures in a row: enough to rule out chance, few enough to cost little


class FailureStreak:
    """Counts failures in a row whose cause lies outside the items.

    Args:
        items: plural of what fails, for the message.
        max_alike: number of failures for one reason, without a success between, that stop the run.
    """

    def __init__(self, items: str, max_alike: int = MAX_ALIKE) -> None:
        self.items = items
        self.max_alike = max_alike
        self.alike = 0
        self.total = 0
        self._key, self._reason = "", ""

    def succeeded(self) -> None:
        """Note that an item was fine, which proves that the machine can do the work."""
        self.alike, self._key = 0, ""

    def failed(self, name: str, reason: str) -> None:
        """Note a failure that is not the fault of the item `name`.

        Raises:
            HummingbirdError: it is the last of too many for one reason.
        """
        key = _without_details(name, reason)
        self.alike = self.alike + 1 if key == self._key else 1
        self.total += 1
        self._key, self._reason = key, reason
        if self.alike >= self.max_alike:
            raise self._stopped()

    def finish(self, count: int) -> None:
        """Raise HummingbirdError if all `count` items of the run failed for one reason."""
        if 0 < count == self.alike == self.total:
            raise self._stopped()

    def _stopped(self) -> HummingbirdError:
        return HummingbirdError(
            f"{self.alike} {self.items} in a row failed for one reason that does not lie in them: "
            f"{self._reason}; remove the cause and run the same command again, it goes on from here"
        )


def _without_details(name: str, reason: str) -> str:
    """Return a reason without what differs from item to item: its name, numbers and paths."""
    for detail in (name, PurePath(name).name):
        reason = reason.replace(detail, "*") if detail else reason
    return re.sub(r"\d+(\.\d+)?", "#", reason)
