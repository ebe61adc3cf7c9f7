"""Errors of chat servers, and which of them may pass."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from ...errors import HummingbirdError

TRANSIENT = (408, 425, 429)  # HTTP statuses that are retried, besides most from 500 on
PERMANENT = (501, 505)  # statuses from 500 on that stay
REFUSED = (400, 413, 422)  # HTTP statuses of a request that the server does not accept
MAX_WAIT = 30.0  # seconds: the longest Retry-After that is obeyed


class ServerError(HummingbirdError, OSError):
    """The server refused the request; a retry would not help."""

    status: int = 0
    """The HTTP status, or the one that the answer holds; 0 if there was no reply."""
    words: str = ""
    """The server's own words."""


class RequestRefusedError(ServerError):
    """The server refused this text (content filter, context length) but may accept another."""


class ServerUnavailableError(ServerError):
    """The server did not answer, or only with transient errors; a later retry may work."""

    wait: float = 0.0
    """Seconds to wait, from the server's Retry-After."""


def is_transient(status: int) -> bool:
    """Return whether the same request may succeed later."""
    return status in TRANSIENT or (status >= 500 and status not in PERMANENT)


def retry_after_seconds(retry_after: str | None) -> float:
    """Return the seconds of a `Retry-After`, a number or a date; 0 for anything else."""
    if not retry_after:
        return 0.0
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError, TypeError):
        return 0.0
    now = datetime.now(date.tzinfo or timezone.utc)
    seconds = (date.replace(tzinfo=now.tzinfo) - now).total_seconds()
    return seconds if 0 < seconds <= MAX_WAIT else 0.0  # otherwise one of the two clocks is wrong
