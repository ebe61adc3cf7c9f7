"""The user's API key, and the policy that decides which servers get it.

A ComfyUI workflow may come from a stranger and name any server. The key is therefore sent only to
this machine, to a URL that the user typed or passed in Python, and to hosts that the user lists in
the environment.
"""

from __future__ import annotations

import html
import ipaddress
import os
from itertools import groupby
from urllib.parse import quote, urlsplit

from ...errors import InputError

KEY_VARIABLE = "HUMMINGBIRD_API_KEY"
HOSTS_VARIABLE = "HUMMINGBIRD_API_HOSTS"
DEFAULT_PORTS = {"http": 80, "https": 443}


def key_for(url: str, trusted: bool) -> str | None:
    """Return the key from the environment if the server may have it.

    Args:
        url: a URL that `check_url` of the client accepts.
        trusted: whether the user chose the URL; False if it comes from a workflow.

    Returns:
        The key; None if there is no key, or if the server must not get it.

    Raises:
        InputError: the key has characters that no key has.
    """
    key = check_key(os.environ.get(KEY_VARIABLE, "").strip())
    may_have_it = trusted or is_loopback(url) or is_listed(url, os.environ.get(HOSTS_VARIABLE, ""))
    return key if key and may_have_it else None


def check_key(key: str) -> str:
    """Return the key, or raise InputError, which does not show it.

    A line break would let the rest of the key pass as further headers of the request.
    """
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"got a {KEY_VARIABLE} with characters that no key has, expected letters, digits and "
            "signs in one line: set it again"
        )
    return key


def hide_key(text: str, key: str, part: int | None = None) -> str:
    """Return the text with `***` in place of a key, also in capitals or as URLs and HTML write it.

    Args:
        text: what a server says.
        key: the key.
        part: length from which parts of the key are hidden, too; None hides the whole key only.
    """
    hidden = bytearray(len(text))  # 1 for each character of the key
    for form in {written.lower() for written in (key, quote(key, safe=""), html.escape(key))}:
        size = min(part or len(form), len(form))
        parts = {form[i : i + size] for i in range(len(form) - size + 1)}
        for i in range(len(text) - size + 1):
            if text[i : i + size].lower() in parts:
                hidden[i : i + size] = b"\1" * size
    runs = groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1])
    return "".join("***" if is_key else "".join(c for c, _ in run) for is_key, run in runs)


def is_loopback(url: str) -> bool:
    """Return whether the URL names this machine, by `localhost` or a loopback IP address."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name, or a spelling such as 127.1, which does not count


def is_listed(url: str, hosts: str) -> bool:
    """Return whether a list such as `api.example.com, [::1]:8080` names the URL's host.

    An entry matches the whole host, not its subdomains, and any port unless it names one.
    """
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    entries = {entry.strip().lower() for entry in hosts.split(",")}
    return bool(host) and not entries.isdisjoint({parts.hostname, host, f"{host}:{port}"})


def withheld_notes(url: str, trusted: bool) -> list[str]:
    """Return a note for the user if there is a key that the server does not get."""
    if not os.environ.get(KEY_VARIABLE, "").strip() or key_for(url, trusted):
        return []
    return [
        f"No key was sent, because the workflow chose the server {urlsplit(url).hostname}. If you "
        f"trust it, list this host in the environment variable {HOSTS_VARIABLE} and restart."
    ]
