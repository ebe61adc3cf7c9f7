"""Addresses of servers: spellings of this machine, international names, queries, proxies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chat_server import chat_server, says
from support.raw_server import http, raw_server, send

from hummingbird_core.errors import InputError
from hummingbird_core.prompts.backends.address import check_url, is_this_machine
from hummingbird_core.prompts.backends.api_key import is_loopback
from hummingbird_core.prompts.backends.openai import ServerChat
from hummingbird_core.prompts.backends.server_errors import ServerError


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://h", "http://h/v1"),
        ("  https://H.Example.com:8443/  ", "https://h.example.com:8443/v1"),
        ("http://h/api/v3/", "http://h/api/v3"),
        ("http://h/v1/chat/completions", "http://h/v1"),
        ("http://h/v1/models/", "http://h/v1"),
        ("http://h/completions", "http://h/v1"),
        ("http://пример.рф/v1", "http://xn--e1afmkfd.xn--p1ai/v1"),
        ("http://bücher.example", "http://xn--bcher-kva.example/v1"),
        ("http://例え.テスト:8000", "http://xn--r8jz45g.xn--zckzah:8000/v1"),
        ("http://xn--e1afmkfd.xn--p1ai/v1", "http://xn--e1afmkfd.xn--p1ai/v1"),
        ("http://h/путь/v1", "http://h/%D0%BF%D1%83%D1%82%D1%8C/v1"),
        ("http://h/a%20b/v1", "http://h/a%20b/v1"),
        ("http://h/v1#part", "http://h/v1"),
        (
            "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
            "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
        ),
        ("http://h?a=1&b=ü", "http://h/v1?a=1&b=%C3%BC"),
    ],
)
def test_an_address_has_one_spelling(url, base):
    assert check_url(url) == base
    assert check_url(base) == base


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        *(("0.0.0.0", "127.0.0.1"), ("0", "127.0.0.1"), ("[::]", "[::1]"), ("0x0", "127.0.0.1")),
        *(("127.1", "127.0.0.1"), ("2130706433", "127.0.0.1"), ("0x7f.1", "127.0.0.1")),
        *(("127.0.0.2", "127.0.0.2"), ("localhost.", "localhost"), ("LOCALHOST", "localhost")),
        *(("[::ffff:127.0.0.1]", "127.0.0.1"), ("[0:0:0:0:0:0:0:1]", "[::1]")),
        *(("１２７.0.0.1", "127.0.0.1"), ("ｌｏｃａｌｈｏｓｔ", "localhost")),  # noqa: RUF001
    ],
)
def test_every_spelling_of_this_machine_is_this_machine(host, canonical):
    base = check_url(f"http://{host}:8000/v1")
    assert base == f"http://{canonical}:8000/v1"
    assert is_loopback(base)
    assert is_this_machine(base)


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1",
        "face",
        "deaf.example",
        "localhost.example.com",
        "xlocalhost",
        "1.example",
        "[::2]",
    ],
)
def test_another_machine_is_none_of_ours(host):
    base = check_url(f"http://{host}/v1")
    assert base == f"http://{host}/v1"
    assert not is_this_machine(base)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://a..b",
            "http://.",
            f"http://{'a' * 64}.com",
            "http://faß.de",
            "http://σίσυφος.gr",
        ),
        *("http://[1.2.3.4]", "http://[::1", "http://[:::]", "http://h:0", "http://h:99999"),
        *("http://h:-1", "http://пользователь@h", "http://h\x1b/", "http://h/\u202e", "ftp://h"),
        "http://127。0。0。1",  # Chinese full stops
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(url):
    with pytest.raises(InputError, match="malformed server URL"):
        check_url(url)


@settings(deadline=2000)
@given(
    st.text(st.characters(), max_size=60)
    | st.builds("http://{}:{}/{}?{}".format, st.text(), st.integers(), st.text(), st.text())
)
def test_any_text_is_an_address_or_is_refused_in_one_line(text):
    try:
        base = check_url(text)
    except InputError:
        return  # its message does not show the text
    assert base.isascii()
    assert check_url(base) == base


# on the wire


@pytest.mark.parametrize("host", ["0.0.0.0", "127.1", "localhost.", "0", "[::ffff:127.0.0.1]"])
def test_no_spelling_of_this_machine_goes_through_a_proxy(monkeypatch, host):
    with raw_server(send(http(b'{"error": "stolen"}', "407 No"))) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        with chat_server(says("direct")) as server:
            url = server.url.replace("127.0.0.1", host)
            assert ServerChat(url, "m", key="sk-key-of-user").answer("", "?", 0) == "direct"
    assert server.keys == ["Bearer sk-key-of-user"]


def test_another_machine_is_asked_through_the_proxy_of_the_user(monkeypatch):
    with raw_server(send(http(b'{"error": "by proxy"}', "404 No"))) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        with pytest.raises(ServerError, match="by proxy"):
            ServerChat("http://api.example.com/v1", "m").answer("", "?", 0)


def test_a_query_goes_with_every_request_and_is_not_shown():
    paths = []

    def script(connection) -> None:
        connection.sendall(http(b"{}", "401 No"))

    with raw_server(script) as url:
        chat = ServerChat(f"{url}?api-version=1&sig=SECRET", "m")
        with pytest.raises(ServerError) as caught:
            chat.answer("", "?", 0)
    assert "SECRET" not in str(caught.value) + str(chat.provenance)
    with chat_server(says("yes")) as server:
        server.RequestHandlerClass = type(
            "Recorder",
            (server.RequestHandlerClass,),
            {"do_POST": lambda self: (paths.append(self.path), self._send(says("yes")))},
        )
        ServerChat(f"{server.url}?api-version=1", "m").answer("", "?", 0)
    assert paths == ["/v1/chat/completions?api-version=1"]
