"""The user's key: which servers get it, and that nobody else ever sees it."""

from __future__ import annotations

import html
import json
import logging
import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from support.chat_server import Reply, chat_server, fails, says

from hummingbird_core.errors import HummingbirdError, InputError
from hummingbird_core.prompts import create_enhancer
from hummingbird_core.prompts.backends import api_key
from hummingbird_core.prompts.backends.api_key import (
    HOSTS_VARIABLE,
    KEY_VARIABLE,
    hide_key,
    is_listed,
    is_loopback,
    key_for,
)
from hummingbird_core.prompts.backends.openai import ServerChat
from hummingbird_core.prompts.backends.server_errors import ServerError
from hummingbird_core.text.tokenizer import ClipTokenizer

KEY = "sk-THE-USERS-SECRET"
ELSEWHERE = "https://api.example.com/v1"
CLIP = ClipTokenizer()


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.delenv(HOSTS_VARIABLE, raising=False)


@pytest.fixture
def remote(monkeypatch):
    """Treats servers of this machine as others."""
    monkeypatch.setattr(api_key, "is_loopback", lambda url: False)


# policy


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.8.9.10:1", "[::1]", "[::1]:11434"]
)
def test_this_machine_gets_the_key(host):
    assert is_loopback(f"http://{host}/v1")
    assert key_for(f"http://{host}/v1", trusted=False) == KEY


@pytest.mark.parametrize(
    "host",
    [
        *("api.example.com", "localhost.example.com", "127.0.0.1.example.com", "10.0.0.1"),
        *("127.1", "2130706433", "0x7f.1", "0.0.0.0", "localhost.", "[::2]", "notlocalhost"),
    ],
)
def test_another_machine_gets_it_only_if_the_user_chose_it(host):
    assert not is_loopback(f"http://{host}/v1")
    assert key_for(f"http://{host}/v1", trusted=False) is None
    assert key_for(f"http://{host}/v1", trusted=True) == KEY


@pytest.mark.parametrize(
    ("hosts", "url", "expected"),
    [
        ("api.example.com", ELSEWHERE, True),
        (" other.org , API.Example.com ", ELSEWHERE, True),
        ("api.example.com", "http://api.example.com:8080/v1", True),
        ("api.example.com:443", ELSEWHERE, True),
        ("api.example.com:443", "https://api.example.com:8443", False),
        ("api.example.com:80", "http://api.example.com", True),
        ("example.com", ELSEWHERE, False),
        ("api.example.com", "https://api.example.com.evil.org", False),
        ("api.example.com", "https://xapi.example.com", False),
        ("*", ELSEWHERE, False),
        ("", ELSEWHERE, False),
        (",", ELSEWHERE, False),
        ("[fd00::1]:8080", "http://[fd00::1]:8080", True),
        ("[fd00::1]:8080", "http://[fd00::1]:8081", False),
        ("fd00::1", "http://[fd00::1]:8081", True),
        ("[fd00::1]", "http://[fd00::1]", True),
    ],
)
def test_the_user_may_list_hosts(monkeypatch, hosts, url, expected):
    monkeypatch.setenv(HOSTS_VARIABLE, hosts)
    assert is_listed(url, hosts) is expected
    assert key_for(url, trusted=False) == (KEY if expected else None)


@pytest.mark.parametrize("value", ["", "  ", None])
def test_without_a_key_there_is_none(monkeypatch, value):
    monkeypatch.delenv(KEY_VARIABLE)
    if value is not None:
        monkeypatch.setenv(KEY_VARIABLE, value)
    assert key_for(ELSEWHERE, trusted=True) is None


@pytest.mark.parametrize(
    "value", [f"{KEY}\nX-Evil: 1", f"{KEY}\r\n\r\nGET /", f"{KEY}\x1b", "ключ"]
)
def test_a_malformed_key_is_one_line_that_does_not_show_it(monkeypatch, value):
    monkeypatch.setenv(KEY_VARIABLE, value)
    for use in (lambda: key_for(ELSEWHERE, trusted=True), lambda: ServerChat(key=value)):
        with pytest.raises(InputError, match=KEY_VARIABLE) as caught:
            use()
        assert "\n" not in str(caught.value)
        assert not {KEY, "Evil", "ключ"} & set(str(caught.value).split())


# on the wire


def enhance(server, tmp_path, **settings):
    settings = {"url": server.url, "cache_dir": tmp_path, "model": "tiny", **settings}
    with create_enhancer("server", CLIP, **settings) as enhancer:
        return enhancer.enhance("a fox")


def test_a_url_from_python_gets_the_key(tmp_path, remote, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, f" {KEY}\n")
    with chat_server(says("a fox runs")) as server:
        result = enhance(server, tmp_path)
    assert server.keys == [f"Bearer {KEY}"]
    assert result.notes == ()


def test_a_url_from_a_workflow_gets_no_key_and_the_user_is_informed(tmp_path, remote):
    with chat_server(says("a fox runs")) as server:
        result = enhance(server, tmp_path, trusted=False)
    assert server.keys == [None]
    (note,) = result.notes
    assert "No key was sent" in note
    assert "127.0.0.1" in note
    assert HOSTS_VARIABLE in note
    assert KEY not in repr(result)


def test_a_refusal_says_that_no_key_was_sent(tmp_path, remote):
    with chat_server(fails(401, "no key")) as server, pytest.raises(ServerError) as caught:
        enhance(server, tmp_path, trusted=False)
    assert "none was sent" in str(caught.value)
    assert HOSTS_VARIABLE in str(caught.value)


def test_a_listed_host_gets_the_key_from_a_workflow_too(tmp_path, remote, monkeypatch):
    monkeypatch.setenv(HOSTS_VARIABLE, "127.0.0.1")
    with chat_server(says("a fox runs")) as server:
        assert enhance(server, tmp_path, trusted=False).notes == ()
    assert server.keys == [f"Bearer {KEY}"]


def test_without_a_key_nothing_is_said_about_it(tmp_path, remote, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE)
    with chat_server(says("a fox runs")) as server:
        assert enhance(server, tmp_path, trusted=False).notes == ()
    assert server.keys == [None]


def test_a_key_is_sent_only_where_it_is_handed_in():
    with chat_server(says("yes")) as server:
        ServerChat(server.url, "tiny").answer("", "?", 0)
    assert server.keys == [None]


def test_a_redirect_does_not_carry_the_key(tmp_path):
    with (
        chat_server(says("stolen")) as other,
        chat_server(Reply(b"", 307, {"Location": other.url + "/chat/completions"})) as server,
        pytest.raises(ServerError, match="points to"),
    ):
        enhance(server, tmp_path)
    assert (other.requests, other.keys) == ([], [])


# what a server repeats


@contextmanager
def raw_server(reply: bytes) -> Iterator[str]:
    """Gives the URL of a server that sends the same bytes to every request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    connection.recv(1 << 16)
                    connection.sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        listener.shutdown(socket.SHUT_RDWR)


def http(body: str, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n{body}".encode()


REPEATED = {
    "no choices": http(json.dumps({"error": f"bad key {KEY}"})),
    "escaped": http(json.dumps({"error": KEY}).replace("S", "\\u0053")),
    "no JSON": http(f"bad key {KEY}"),
    "redirect": http("", "302 Found", f"Location: http://x/?key={KEY}\r\n"),
    "error": http(json.dumps({"error": {"message": f"bad key {KEY}"}}), "401 No"),
    "error of another kind": http(f"bad key {KEY}", "500 No"),
    "status line": http("", f"401 bad key {KEY}"),
    "transient status line": http("", f"503 bad key {KEY}"),
    "no HTTP": f"{KEY} {KEY}\r\n\r\n".encode(),
    "broken status": f"HTTP/1.1 {KEY}\r\n\r\n".encode(),
    "escape sequences": http(f"\x1b]0;{KEY}\x07", "401 No"),
}


@pytest.mark.parametrize("case", REPEATED)
def test_no_message_log_or_traceback_holds_the_key(case, caplog):
    caplog.set_level(logging.DEBUG)
    with raw_server(REPEATED[case]) as url, pytest.raises(HummingbirdError) as caught:
        ServerChat(url, "tiny", key=KEY, attempts=2, backoff=0.01, timeout=5.0).answer("", "?", 0)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert KEY not in shown
    assert str(caught.value).isprintable()


WRITTEN_KEY = "sk-THE/USERS+SECRET&MORE"
IN_A_URL, IN_HTML = quote(WRITTEN_KEY, safe=""), html.escape(WRITTEN_KEY)
REWRITTEN = {
    "redirect to a URL with it": http("", "302 Found", f"Location: http://x/?key={IN_A_URL}\r\n"),
    "as HTML": http(f"bad key {IN_HTML}", "401 No"),
    "in capitals": http(f"bad key {WRITTEN_KEY.upper()}", "401 No"),
    "partly masked": http(f"bad key {WRITTEN_KEY[:-3]}***", "401 No"),
    "its end": http(f"bad key ...{WRITTEN_KEY[4:]}", "401 No"),
}


@pytest.mark.parametrize("case", REWRITTEN)
def test_no_message_holds_the_key_in_another_form(case, caplog):
    with raw_server(REWRITTEN[case]) as url, pytest.raises(HummingbirdError) as caught:
        ServerChat(url, "tiny", key=WRITTEN_KEY, attempts=1).answer("", "?", 0)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "***" in str(caught.value)
    for form in (WRITTEN_KEY, IN_A_URL, IN_HTML):
        parts = {form[i : i + 10].lower() for i in range(len(form) - 9)}
        assert not [part for part in parts if part in shown.lower()]


@pytest.mark.parametrize(
    ("text", "part", "expected"),
    [
        ("key abcdefghij, not abcdefghi", None, "key ***, not abcdefghi"),
        ("key abcdefghij, not abcdefghi", 8, "key ***, not ***"),
        ("abcdefg", 8, "abcdefg"),
        ("xabcdefghijabcdefghijx", 8, "x***x"),
    ],
)
def test_parts_of_a_key_are_hidden_from_a_length_on(text, part, expected):
    assert hide_key(text, "abcdefghij", part) == expected


def test_no_list_of_models_holds_the_key():
    with (
        chat_server(says("yes"), models=(KEY, "other")) as server,
        pytest.raises(InputError, match="other") as caught,
    ):
        ServerChat(server.url, key=KEY).answer("", "?", 0)
    assert KEY not in str(caught.value)


def test_no_answer_cache_or_metadata_holds_the_key(tmp_path):
    with chat_server(says(f"a fox, {KEY}"), models=(KEY,)) as server:
        result = enhance(server, tmp_path, model=None)
    assert KEY not in repr(result)
    assert KEY not in json.dumps(result.record())
    files = list(tmp_path.glob("*.json"))
    assert files
    assert not [file for file in files if KEY in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("url", [f"https://user:{KEY}@api.example.com", f"https://{KEY}@h/v1"])
def test_a_password_in_a_url_is_refused_and_not_shown(url, caplog, tmp_path):
    for use in (lambda: ServerChat(url), lambda: create_enhancer("server", CLIP, url=url)):
        with pytest.raises(InputError, match="user name or password") as caught:
            use()
        assert KEY not in "".join(traceback.format_exception(caught.value)) + caplog.text


def test_a_short_placeholder_is_no_secret():
    with chat_server(says("there is none")) as server:
        assert ServerChat(server.url, "tiny", key="none").answer("", "?", 0) == "there is none"
