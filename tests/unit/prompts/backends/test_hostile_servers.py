"""Any answer of a server becomes a text or one printable line, in time; whatever it sends."""

from __future__ import annotations

import gzip
import json
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.raw_server import chat, drip, endless, http, raw_server, send

from hummingbird_core.errors import HummingbirdError, printable
from hummingbird_core.prompts.backends.base import MAX_ANSWER_TEXT
from hummingbird_core.prompts.backends.openai import ServerChat
from hummingbird_core.prompts.backends.server_errors import (
    ServerUnavailableError,
    retry_after_seconds,
)

TIMEOUT, MOST = 0.5, 2.0  # seconds; the machine may be busy
HTTP = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(bytes(50 << 20), 9)  # 50 kB that become 50 MiB
HOSTILE = {
    "deep JSON": send(http(b"[" * 100_000)),
    "deep JSON object": send(http(b'{"a":' * 100_000)),
    "deep JSON in an error": send(http(b'{"error":' * 100_000, "400 Bad")),
    "deep JSON that ends": send(http(b'{"error":' * 900 + b"1" + b"}" * 900)),
    "deep choices": send(http(b'{"choices":' * 900 + b"1" + b"}" * 900)),
    "deep content": send(http(chat([[[[[[[[[["a fox"]]]]]]]]]]))),
    "escapes in an error": send(http(b'{"error":"\\u001b]0;owned\\u0007\\nhi"}', "401 No")),
    "escapes in a redirect": send(http(b"", "302 Found", "Location: http://x/\x1b[31m\r\n")),
    "escapes in a status line": send(b"HTTP/1.1 401 \x1b[31m\r\n\r\n"),
    "redirect to a file": send(http(b"", "302 Found", "Location: file:///etc/passwd\r\n")),
    "redirect in a circle": send(http(b"", "307 Again", "Location: /v1/chat/completions\r\n")),
    "no UTF-8": send(http(b'{"choices":[{"message":{"content":"\xff\xfe"}}]}')),
    "huge number": send(http(b'{"choices":' + b"9" * 5000 + b"}")),
    "NaN": send(http(b'{"choices":NaN}')),
    "choices is an object": send(http(b'{"choices":{"0":1}}')),
    "choice is a list": send(http(b'{"choices":[[]]}')),
    "message is a list": send(http(b'{"choices":[{"message":[]}]}')),
    "content is a number": send(http(chat(12345))),
    "content is true": send(http(chat(True))),
    "parts are numbers": send(http(chat([1, 2]))),
    "4 MB of text": send(http(chat("a " * 1_900_000))),
    "17 kB of text": send(http(chat("a " * 8_700))),
    "17 kB in parts": send(http(chat([{"type": "text", "text": "a " * 100}] * 87))),
    "5 MiB": send(http(chat("a" * (5 << 20)))),
    "headers dripped": drip(HTTP + b"X-A: " + b"b" * 200 + b"\r\n\r\n{}"),
    "status line dripped": drip(b"HTTP/1.1 200 OK" + b" " * 150 + b"\r\n\r\n"),
    "body dripped": drip(http(chat("a fox " * 50))),
    "error body dripped": drip(b"HTTP/1.1 500 no\r\nContent-Length: 400\r\n\r\n" + b"x" * 400),
    "endless 100 Continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    "endless headers": endless(HTTP, b"X-A: b\r\n", 0.01),
    "endless header": endless(HTTP + b"X-A: ", b"b" * 1000, 0.01),
    "endless body": endless(HTTP + b"\r\n", b"a" * 65536),
    "endless error body": endless(b"HTTP/1.1 500 no\r\n\r\n", b"a" * 100, 0.01),
    "endless chunks": endless(HTTP + b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nabcd\r\n", 0.01),
    "nothing, and no end": lambda connection: time.sleep(3),
    "chunked nonsense": send(HTTP + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "huge chunk": send(HTTP + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc"),
    "negative length": send(HTTP + b"Content-Length: -1\r\n\r\n{}"),
    "huge length": send(HTTP + b"Content-Length: 1000000000000000000\r\n\r\n{}"),
    "two lengths": send(HTTP + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
    "HTTP/0.9": send(b"hello\r\n"),
    "a greeting of SSH": send(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "nothing": send(b""),
    "Retry-After huge": send(http(b"{}", "429 slow", "Retry-After: " + "9" * 500 + "\r\n")),
    "Retry-After odd": send(http(b"{}", "429 slow", "Retry-After: \u0663, Wed, 99 Oct\r\n")),
    "damaged gzip": send(
        http(b"\x1f\x8b\x08\0\0\x01\x02\x03", headers="Content-Encoding: gzip\r\n")
    ),
    "gzip bomb": send(http(BOMB, headers="Content-Encoding: gzip\r\n")),
    "gzip bomb in an error": send(http(BOMB, "400 Bad", "Content-Encoding: gzip\r\n")),
    "unknown compression": send(http(b"\x1f\x8b", headers="Content-Encoding: br, gzip\r\n")),
}


def ask(url: str, **options) -> str | HummingbirdError:
    """The answer or the error; anything else escapes."""
    settings = {"timeout": TIMEOUT, "attempts": 1, "backoff": 0.01, **options}
    try:
        return ServerChat(url, "m", **settings).answer("s", "q", 0)
    except HummingbirdError as error:
        return error


def check(result: str | HummingbirdError) -> None:
    """One printable line, or a text that any encoding of Unicode can hold."""
    if isinstance(result, str):
        assert len(result.encode()) <= MAX_ANSWER_TEXT
    else:
        assert printable(str(result)) == str(result) != ""
        assert len(str(result)) < 1000


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_server_costs_one_line_and_little_time(case):
    with raw_server(HOSTILE[case]) as url:
        start = time.monotonic()
        result = ask(url)
        seconds = time.monotonic() - start
    check(result)
    assert isinstance(result, HummingbirdError)
    assert seconds < MOST


@pytest.mark.parametrize("case", ["body dripped", "endless 100 Continue", "nothing, and no end"])
def test_a_connection_that_was_given_up_is_closed(case):
    before = threading.active_count()
    with raw_server(HOSTILE[case]) as url:
        ask(url, timeout=0.2)
        deadline = time.monotonic() + 2.0  # the server's threads end, too
        while threading.active_count() > before + 1 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert threading.active_count() <= before + 2


def test_a_check_ends_the_wait():
    class StopError(Exception):
        pass

    start = time.monotonic()

    def stop_later() -> None:
        if time.monotonic() - start > 0.3:
            raise StopError

    with raw_server(HOSTILE["nothing, and no end"]) as url, pytest.raises(StopError):
        ServerChat(url, "m", timeout=60, check=stop_later).answer("s", "q", 0)
    assert time.monotonic() - start < 1.5


def test_memory_stays_small():
    """A bomb of 50 MiB is unpacked to 4 MiB at most."""
    with raw_server(HOSTILE["gzip bomb"]) as url:
        assert "more than 4 MiB" in str(ask(url, timeout=10))


@pytest.mark.parametrize("packed", [True, False])
def test_a_compressed_answer_is_read(packed):
    body = gzip.compress(chat("a fox")) if packed else chat("a fox")
    headers = "Content-Encoding: gzip\r\n" if packed else ""
    with raw_server(send(http(body, headers=headers))) as url:
        assert ask(url, timeout=10) == "a fox"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=50),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "choices",
                        "message",
                        "content",
                        "error",
                        "code",
                        "type",
                        "text",
                        "data",
                        "id",
                    ),
                    *("finish_reason", "detail", "object", "status", "loc", "msg"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)
CHOICES = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": JSON, "finish_reason": JSON}) | JSON)},
    optional={"error": JSON},
)
STATUS = st.sampled_from(["200 OK", "201 Odd", "302 Found", "400 Bad", "401 No", "429 Slow", "500"])


@settings(deadline=None, max_examples=150)
@given(
    st.binary(max_size=300)
    | st.builds(http, st.binary(max_size=300), STATUS)
    | st.builds(lambda value, status: http(json.dumps(value).encode(), status), JSON, STATUS)
    | st.builds(lambda value: http(json.dumps(value).encode()), CHOICES)
)
def test_any_answer_becomes_a_text_or_one_line(data):
    start = time.monotonic()
    with raw_server(send(data)) as url:
        check(ask(url))
    assert time.monotonic() - start < MOST


@settings(deadline=2000)
@given(
    st.text(st.characters())
    | st.builds(
        "{}, {} {} {} {}:{}:{} {}".format,
        st.sampled_from(["Wed", "Xyz", ""]),
        *[st.integers(-99, 99), st.sampled_from(["Oct", "13"]), st.integers(-9999, 99999)],
        *[st.integers(-9, 99), st.integers(-9, 99), st.integers(-9, 99)],
        st.sampled_from(["GMT", "+0100", "-9999", "+99999999", "", "CEST"]),
    )
)
def test_any_retry_after_is_a_time(value):
    assert retry_after_seconds(value) >= 0


@settings(deadline=None, max_examples=50)
@given(JSON | st.binary(max_size=100))
def test_any_list_of_models_becomes_a_name_or_one_line(listed):
    body = listed if isinstance(listed, bytes) else json.dumps({"data": listed}).encode()
    with raw_server(send(http(body))) as url:
        try:
            name = ServerChat(url, timeout=TIMEOUT, attempts=1).model
        except HummingbirdError as error:
            check(error)
        else:
            assert isinstance(name, str)
            assert name


def test_a_server_that_is_slow_but_in_time_is_heard():
    with raw_server(drip(http(chat("a fox")), pause=0.002)) as url:
        assert ask(url, timeout=10) == "a fox"


def test_the_limit_is_for_each_attempt():
    with raw_server(HOSTILE["nothing, and no end"], send(http(chat("a fox")))) as url:
        start = time.monotonic()
        assert ask(url, timeout=0.3, attempts=2) == "a fox"
        assert time.monotonic() - start < 2.0
    with raw_server(HOSTILE["nothing, and no end"]) as url:
        assert isinstance(ask(url, timeout=0.2), ServerUnavailableError)
