"""The client for OpenAI-compatible servers, against a real one that fails in many ways."""

from __future__ import annotations

import socket
import time

import pytest
from support.chat_server import Reply, chat_server, fails, says

from hummingbird_core.errors import InputError
from hummingbird_core.prompts.backends.openai import ServerChat
from hummingbird_core.prompts.backends.server_errors import (
    RequestRefusedError,
    ServerError,
    ServerUnavailableError,
)


def client(server, **settings) -> ServerChat:
    return ServerChat(server.url, "tiny", **{"timeout": 5.0, "backoff": 0.01, **settings})


def test_a_question_is_sent_as_the_protocol_wants():
    with chat_server(says("a fox runs")) as server:
        assert client(server).answer("be brief", "a fox", 7) == "a fox runs"
    (request,) = server.requests
    assert request["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "a fox"},
    ]
    assert (request["model"], request["seed"], request["stream"]) == ("tiny", 7, False)


def test_any_seed_is_one_that_servers_take():
    with chat_server(says("yes")) as server:
        client(server).answer("", "?", 2**64 - 1)
    assert server.requests[0]["seed"] == 2**31 - 1


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_the_address_may_be_given_in_any_form(ending):
    with chat_server(says("yes")) as server:
        root = server.url.removesuffix("/v1")
        assert ServerChat(root + ending, "tiny").answer("", "?", 0) == "yes"


def test_a_server_on_this_machine_is_never_asked_through_a_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with chat_server(says("direct")) as server:
        assert client(server).answer("", "?", 0) == "direct"


# refusals: asked once


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "set HUMMINGBIRD_API_KEY"), (403, "check HUMMINGBIRD_API_KEY"), (404, "check both")],
)
def test_a_refusal_is_not_repeated_and_says_what_to_do(status, advice):
    with (
        chat_server(fails(status, "because of this")) as server,
        pytest.raises(ServerError, match=advice) as caught,
    ):
        client(server, key="sk-secret").answer("", "?", 0)
    assert "because of this" in str(caught.value)
    assert not isinstance(caught.value, ServerUnavailableError)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_one_text_is_told_apart_and_not_repeated(status):
    with (
        chat_server(fails(status, "content filter")) as server,
        pytest.raises(RequestRefusedError, match=r"content filter.*reword"),
    ):
        client(server).answer("", "?", 0)
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed():
    with (
        chat_server(says("stolen")) as other,
        chat_server(Reply(b"", 307, {"Location": other.url + "/chat/completions"})) as server,
        pytest.raises(ServerError, match="points to"),
    ):
        client(server).answer("", "?", 0)
    assert other.requests == []


@pytest.mark.parametrize(
    "body", [b"<html>hello</html>", b"", b"[]", b"null", b'{"choices": []}', b'{"choices": 3}']
)
def test_a_server_of_another_kind_is_recognised(body):
    with chat_server(Reply(body)) as server, pytest.raises(ServerError, match="check the address"):
        client(server).answer("", "?", 0)


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:1234", "file:///etc/passwd", "http://", "http://h:x/v1"),
        *("http://u:p@h", "http://u@h", "http://@h", "http://[::1%5D.h]", "http://localhost%2f.h"),
        *("http://h\nx", "http://localhost\\@h", "http://a b", "http://["),
    ],
)
def test_a_malformed_address_is_refused(url):
    with pytest.raises(InputError, match="expected one like http"):
        ServerChat(url)


# failures that may pass: asked again


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_failure_that_passes_is_survived(status):
    with chat_server(fails(status), fails(status), says("at last")) as server:
        assert client(server).answer("", "?", 0) == "at last"
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [429, 500])
def test_a_failure_that_stays_is_told_apart_from_a_refusal(status):
    with (
        chat_server(fails(status, "busy")) as server,
        pytest.raises(ServerUnavailableError, match="busy"),
    ):
        client(server).answer("", "?", 0)
    assert len(server.requests) == 3


def test_pauses_double():
    with chat_server(fails(500), fails(500), says("yes")) as server:
        start = time.monotonic()
        client(server, backoff=0.1).answer("", "?", 0)
    assert time.monotonic() - start >= 0.3  # 0.1 + 0.2


def test_the_server_may_say_how_long_to_wait():
    with chat_server(fails(429, headers={"Retry-After": "1"}), says("yes")) as server:
        start = time.monotonic()
        client(server).answer("", "?", 0)
    assert time.monotonic() - start >= 1.0


@pytest.mark.parametrize("cut", [1, 20])
def test_a_truncated_answer_is_asked_for_again(cut):
    with chat_server(says("half", cut=cut), says("whole")) as server:
        assert client(server).answer("", "?", 0) == "whole"


def test_broken_json_is_asked_for_again():
    with chat_server(Reply(b'{"choices": [{"mess'), says("whole")) as server:
        assert client(server).answer("", "?", 0) == "whole"


@pytest.mark.parametrize("slow", [{"delay": 1.0}, {"drip": 0.02}], ids=["silent", "dripping"])
def test_a_slow_server_is_given_up(slow):
    with chat_server(says("x" * 100, **slow)) as server:
        start = time.monotonic()
        with pytest.raises(ServerUnavailableError, match=r"within 0\.3 s"):
            client(server, timeout=0.3, attempts=1).answer("", "?", 0)
        assert time.monotonic() - start < 0.9


def test_an_endless_answer_is_given_up():
    with (
        chat_server(Reply(b"x" * (5 << 20))) as server,
        pytest.raises(ServerUnavailableError, match="more than 4 MiB"),
    ):
        client(server, attempts=1).answer("", "?", 0)


def test_no_server_says_how_to_start_one():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(ServerUnavailableError, match="start it, or give its address"):
        ServerChat(url, "tiny", backoff=0.01).answer("", "?", 0)


# model


def test_the_only_model_needs_no_name():
    with chat_server(says("yes"), models=("solo",)) as server:
        chat = ServerChat(server.url)
        chat.answer("", "?", 0)
    assert chat.model == server.requests[0]["model"] == "solo"


@pytest.mark.parametrize("models", [("first", "second"), ()])
def test_a_name_is_asked_for_when_it_matters(models):
    with (
        chat_server(says("yes"), models=models) as server,
        pytest.raises(InputError, match=", ".join(models) or "none"),
    ):
        ServerChat(server.url).answer("", "?", 0)


def test_an_answer_without_words_is_empty():
    with chat_server(says(None)) as server:
        assert client(server).answer("", "?", 0) == ""


def test_no_attempt_is_made_once_the_check_raises():
    def check() -> None:
        if server.requests:
            raise KeyboardInterrupt

    with chat_server(fails(503)) as server, pytest.raises(KeyboardInterrupt):
        client(server, check=check).answer("", "?", 0)
    assert len(server.requests) == 1
