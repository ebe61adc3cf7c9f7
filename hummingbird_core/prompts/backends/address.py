"""Addresses of servers in one canonical spelling, so that policies see the host that is used."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import quote, urlsplit, urlunsplit

from ...errors import InputError
from .api_key import KEY_VARIABLE, is_loopback

DEFAULT_URL = "http://localhost:11434/v1"  # Ollama's
# Host and port alone: no user name, no password, and no escapes, which urllib would decode later.
HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\])(:\d*)?")
NUMERIC_HOST = re.compile(r"[0-9a-fx.]+")
# Python's IDNA of 2003 turns these letters into others, and with them the host: `faß.de`.
AMBIGUOUS_LETTERS = "ßς"
ENDPOINT = re.compile(r"/((chat/)?completions|models|responses)$")  # of the protocol
URL_SIGNS = "%:@!$&'()*+,;=-._~/?"  # not escaped in path and query


def check_url(url: str) -> str:
    """Return the protocol's base URL: without endpoint, with /v1 for a bare host.

    Other spellings of this machine (`0.0.0.0`, which servers print, `127.1`, `localhost.`) become
    the usual one, and an international name becomes ASCII. A query, such as Azure's
    `?api-version=`, is kept for every request.

    Raises:
        InputError: not an http(s) URL, or one with a user name or password; it is not shown.
    """
    text = url.strip()
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("http", "https") and parts.port != 0 and text.isprintable()
        host = canonical_host(parts.hostname or "") if HOST.fullmatch(parts.netloc) else ""
    except ValueError:
        is_usable, host = False, ""
    if not (is_usable and host):
        # Not shown, because it may hold a password.
        raise InputError(
            f"got a malformed server URL, or one with a user name or password, expected one like "
            f"{DEFAULT_URL} (keys go into {KEY_VARIABLE}): fix it"
        )
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    path = ENDPOINT.sub("", parts.path.rstrip("/")) or "/v1"
    path, query = (quote(part, safe=URL_SIGNS) for part in (path, parts.query))
    return urlunsplit((parts.scheme, netloc, path, query, ""))


def canonical_host(host: str) -> str:
    """Return a host as the network sees it: in ASCII, numbers as an IP address.

    Raises:
        ValueError: no host of the internet can have this name.
    """
    if ":" in host:
        six = ipaddress.IPv6Address(host)
        if six.ipv4_mapped:
            return canonical_host(str(six.ipv4_mapped))
        return "[::1]" if six.is_unspecified else f"[{six}]"
    if any(letter in host for letter in AMBIGUOUS_LETTERS):
        raise ValueError("ambiguous letter in a host")
    name = host.encode("idna").decode("ascii").lower()
    if NUMERIC_HOST.fullmatch(name):
        try:
            name = str(ipaddress.IPv4Address(socket.inet_aton(name)))
        except OSError:
            return name  # letters a to f
        return "127.0.0.1" if name == "0.0.0.0" else name
    return "localhost" if name == "localhost." else name


def is_this_machine(base: str) -> bool:
    """Return whether a proxy could not reach the server of a canonical URL."""
    host = urlsplit(base).hostname or ""
    local_names = (".localhost", ".localhost.", "localhost.localdomain")
    return is_loopback(base) or host.endswith(local_names)


def endpoint(base: str, path: str) -> str:
    """Return the URL of an endpoint, with the query of the base URL."""
    parts = urlsplit(base)
    return urlunsplit(parts._replace(path=parts.path + path))


def without_query(base: str) -> str:
    """Return the URL for messages and metadata; a query may hold a secret."""
    return urlunsplit(urlsplit(base)._replace(query=""))
