"""Differences of servers: parts of an answer, errors with HTTP 200, fields that they refuse."""

from __future__ import annotations

import json
import logging
import time

import pytest
from support.chat_server import Reply, chat_server, fails, says

from hummingbird_core.errors import HummingbirdError
from hummingbird_core.prompts.backends.openai import ServerChat
from hummingbird_core.prompts.backends.server_errors import (
    RequestRefusedError,
    ServerError,
    ServerUnavailableError,
)

GOOD = "A fox runs through deep snow, slow tracking camera."
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "The user wants a fox."}]}


def client(server) -> ServerChat:
    return ServerChat(server.url, "tiny", timeout=5.0, backoff=0.01)


def as_json(value: object, status: int = 200) -> Reply:
    return Reply(json.dumps(value).encode(), status)


def choice(message: object, **fields: object) -> Reply:
    return as_json({"choices": [{"index": 0, "message": message, **fields}]})


def answer_of(*replies: Reply) -> tuple[str, int]:
    """The answer, and how often it was asked."""
    with chat_server(*replies) as server:
        return client(server).answer("be brief", "a fox", 0), len(server.requests)


def error_of(*replies: Reply) -> tuple[HummingbirdError, int]:
    with chat_server(*replies) as server, pytest.raises(HummingbirdError) as caught:
        client(server).answer("be brief", "a fox", 0)
    return caught.value, len(server.requests)


# content


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        [{"type": "text", "text": GOOD}],
        [THOUGHT, {"type": "text", "text": GOOD}],
        [{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": GOOD}],
        [{"type": "text", "text": GOOD[:10]}, {"type": "text", "text": GOOD[10:]}],
        [{"type": "text", "text": {"value": GOOD, "annotations": []}}],
        [{"text": GOOD}],
        [GOOD],
        {"type": "text", "text": GOOD},
        [{"type": "redacted_thinking", "data": "x"}, THOUGHT, GOOD, {"type": "image_url"}],
        [None, {"type": "text", "text": GOOD}],
    ],
)
def test_the_text_of_all_parts_is_the_answer(content):
    assert answer_of(choice({"role": "assistant", "content": content})) == (GOOD, 1)


def test_the_protocol_for_completions_is_understood():
    assert answer_of(as_json({"choices": [{"text": GOOD}]})) == (GOOD, 1)


@pytest.mark.parametrize(
    "reply",
    [
        choice({"content": "", "reasoning_content": "a fox " * 20}),
        choice({"content": None, "reasoning": "hm"}),
        choice({"content": None, "tool_calls": [{"id": "1"}]}),
        choice({"content": [THOUGHT]}),
        choice({"content": []}),
        choice({"content": None, "refusal": "I can't help with that."}),
        choice({"content": "A fox in the sn"}, finish_reason="content_filter"),
        choice({}),
    ],
)
def test_an_answer_without_words_is_empty(reply):
    assert answer_of(reply) == ("", 1)


def stream(*events: object) -> Reply:
    lines = [f"data: {event if event == '[DONE]' else json.dumps(event)}\n\n" for event in events]
    return Reply("".join([": ping\n\n", *lines]).encode())


def delta(content: str, **fields: object) -> dict:
    return {"choices": [{"delta": {"content": content}, **fields}]}


def test_a_stream_that_nobody_wanted_is_read():
    words = [delta(f"{word} ") for word in GOOD.split()]
    assert answer_of(stream(*words, "[DONE]")) == (f"{GOOD} ", 1)
    assert answer_of(stream(*words, delta("", finish_reason="stop"))) == (f"{GOOD} ", 1)
    assert answer_of(stream(words[0], {"error": {"code": 502}}), says(GOOD)) == (GOOD, 2)


def test_a_stream_that_breaks_off_is_no_answer():
    error, _ = error_of(stream(delta("A fox in the sn")))
    assert "check the address" in str(error)


def test_a_wait_until_a_date_is_obeyed_within_reason():
    far = {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}
    past = {"Retry-After": "Wed, 21 Oct 1999 07:28:00 GMT"}
    start = time.monotonic()
    assert answer_of(fails(429, headers=far), fails(429, headers=past), says(GOOD)) == (GOOD, 3)
    assert time.monotonic() - start < 2.0


@pytest.mark.parametrize("content", [12345, True, [1], [[]], [{"type": "text", "text": 3}]])
def test_a_content_of_another_kind_is_no_answer(content):
    error, asked = error_of(choice({"content": content}))
    assert "without text" in str(error)
    assert asked == 3


# errors with HTTP 200

BUSY = "Upstream error: Service temporarily overloaded"


@pytest.mark.parametrize(
    "reply",
    [
        {"id": "gen", "error": {"message": BUSY, "code": 502}},
        {"choices": None, "error": {"message": BUSY, "code": 429}},
        {"choices": [], "error": {"message": BUSY, "code": "503"}},
        {"error": {"message": BUSY, "type": "overloaded_error"}},
        {"error": {"message": BUSY, "code": "rate_limit_exceeded"}},
        {"error": {"message": BUSY, "status": "RESOURCE_EXHAUSTED"}},
        {"error": {"message": BUSY, "code": 1305}},
        {"error": BUSY},
        [{"error": {"code": 503, "message": BUSY, "status": "UNAVAILABLE"}}],
        {"object": "error", "message": BUSY, "type": "Internal", "code": 500},
        {"message": BUSY, "status_code": 529},
        {"detail": BUSY, "status": 503},
        {"choices": [{"finish_reason": "error", "error": {"code": 502, "message": BUSY}}]},
        {"choices": [{"message": {"content": "A fox in the sn"}, "error": {"message": BUSY}}]},
        {"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": BUSY}}},
        {"error": {"message": json.dumps({"error": {"message": BUSY}}), "code": 500}},
    ],
)
def test_an_error_that_passes_is_tried_again_although_it_comes_with_http_200(reply):
    assert answer_of(as_json(reply), as_json(reply), says(GOOD)) == (GOOD, 3)
    error, asked = error_of(as_json(reply))
    assert isinstance(error, ServerUnavailableError)
    assert BUSY in str(error)
    assert "HTTP" not in str(error)  # it was 200
    assert asked == 3


@pytest.mark.parametrize("choices", [[], None, [{}], [None], [{"finish_reason": "error"}], {}, 3])
def test_an_answer_without_choices_is_tried_again(choices):
    assert answer_of(as_json({"choices": choices}), says(GOOD)) == (GOOD, 2)


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        ({"code": 401, "message": "no such key"}, ServerError, "expected a key, none was sent"),
        ({"code": "invalid_api_key", "message": "bad"}, ServerError, "expected a key"),
        ({"code": 402, "message": "no credit"}, ServerError, "no credit"),
        ({"code": 404, "message": "no such model"}, ServerError, "at this address"),
        ({"type": "not_found_error", "message": "no such model"}, ServerError, "this address"),
        ({"code": "context_length_exceeded", "message": "long"}, RequestRefusedError, "shorten"),
        ({"code": 400, "message": "filter"}, RequestRefusedError, "reword"),
        ({"status": "INVALID_ARGUMENT", "message": "filter"}, RequestRefusedError, "reword"),
    ],
)
def test_an_error_that_stays_is_not_repeated(error, kind, advice):
    found, asked = error_of(as_json({"error": error}))
    assert type(found) is kind
    assert advice in str(found)
    assert error["message"] in str(found)
    assert asked == 1


@pytest.mark.parametrize(
    "reply",
    [
        {"message": {"role": "assistant", "content": GOOD}, "done": True},
        {"generated_text": GOOD},
        [{"generated_text": GOOD}],
        {"detail": "Not Found"},
    ],
)
def test_another_protocol_is_named_at_once(reply):
    error, asked = error_of(as_json(reply))
    assert "check the address" in str(error)
    assert asked == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 524, 529, 599])
def test_every_status_that_may_pass_is_tried_again(status):
    assert answer_of(fails(status), says(GOOD)) == (GOOD, 2)


@pytest.mark.parametrize("status", [402, 405, 410, 451, 501, 505])
def test_a_status_that_stays_is_not(status):
    assert error_of(fails(status, "never"), says(GOOD))[1] == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"detail": [{"loc": ["body", "n"], "msg": "bad value"}]}, "body.n: bad value"),
        ({"object": "error", "message": {"detail": "bad value"}}, "bad value"),
        ({"error": {"error": {"message": "bad value"}}}, "bad value"),
        ({"errors": 1, "title": "bad value"}, "bad value"),
        ([{"error": {"message": "bad value"}}], "bad value"),
        ("bad value", "bad value"),
    ],
)
def test_the_servers_own_words_are_found(body, words):
    assert words in str(error_of(as_json(body, 409))[0])


# refused fields


class Picky:
    """A server that refuses fields, one at a time, as real ones do."""

    def __init__(self, **refused: tuple[int, object]):
        self.refused = refused

    def __call__(self, request: dict) -> Reply:
        for field, (status, error) in self.refused.items():
            has_system = any(message["role"] == "system" for message in request["messages"])
            if field in request or (field == "system" and has_system):
                return as_json(error, status)
        return says(GOOD)


def openai_error(message: str) -> dict:
    return {"error": {"message": message, "type": "invalid_request_error", "code": None}}


MAX_TOKENS = openai_error(
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead."
)
TEMPERATURE = openai_error(
    "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) "
    "value is supported."
)
FORBIDDEN = {
    "object": "error",
    "message": {
        "detail": [
            {
                "type": "extra_forbidden",
                "loc": ["body", "seed"],
                "msg": "Extra inputs are not permitted",
            }
        ]
    },
}
ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
TOO_LARGE = "'max_tokens' is too large: 2048. This model's maximum context length is 1024 tokens"
PICKY = {
    "reasoning model": {"max_tokens": (400, MAX_TOKENS), "temperature": (400, TEMPERATURE)},
    "neither name": {
        "max_tokens": (400, MAX_TOKENS),
        "max_completion_tokens": (400, openai_error("Unknown parameter: 'max_completion_tokens'")),
    },
    "small context": {
        "max_tokens": (400, openai_error(TOO_LARGE)),
        "max_completion_tokens": (400, openai_error(TOO_LARGE.replace("_", "_completion_"))),
    },
    "Mistral": {"seed": (422, FORBIDDEN)},
    "FastAPI": {"seed": (422, FORBIDDEN["message"])},
    "Gemma on vLLM": {
        "system": (400, openai_error("Only user and assistant roles are supported!"))
    },
    "Gemma on llama.cpp": {"system": (500, openai_error("Jinja: System role not supported"))},
    "Gemma at Google": {
        "system": (
            400,
            [{"error": {"code": 400, "message": "Developer instruction is not enabled"}}],
        )
    },
    "Mistral on vLLM": {"system": (400, openai_error(ALTERNATE))},
    "an error with HTTP 200": {"seed": (200, {"error": {"code": 400, "message": "seed: unknown"}})},
    "all of them": {
        "seed": (422, FORBIDDEN),
        "max_tokens": (400, MAX_TOKENS),
        "temperature": (400, TEMPERATURE),
        "system": (400, openai_error("messages[0].role: 'system' is not one of ['user']")),
        "stream": (400, openai_error("Unrecognized request argument supplied: stream")),
    },
}


@pytest.mark.parametrize("case", PICKY)
def test_a_refused_field_is_left_out(case, caplog):
    with chat_server(says("")) as server, caplog.at_level(logging.WARNING):
        server.answer_to = Picky(**PICKY[case])
        chat = client(server)
        assert chat.answer("be brief", "a fox", 7) == GOOD
        asked = len(server.requests)
        assert chat.answer("be brief", "a wolf", 7) == GOOD
    assert len(server.requests) == asked + 1  # the form is remembered
    last = server.requests[-1]
    assert not set(PICKY[case]) & set(last)
    assert last["model"] == "tiny"
    text = "\n\n".join(message["content"] for message in last["messages"])
    assert text == "be brief\n\na wolf"
    assert "refuses" in caplog.text


def test_the_length_keeps_its_new_name():
    with chat_server(says("")) as server:
        server.answer_to = Picky(max_tokens=(400, MAX_TOKENS))
        client(server).answer("", "a fox", 0)
    assert server.requests[-1]["max_completion_tokens"] == server.requests[0]["max_tokens"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "the prompt violates the content policy"),
        (400, "maximum context length is 20 tokens"),
        (422, "model not loaded"),
        (401, "seed: no key"),
        (400, "The system is busy"),
    ],
)
def test_another_refusal_is_not_repeated(status, words):
    assert error_of(fails(status, words))[1] == 1


def test_a_field_that_is_refused_for_ever_is_named_and_does_not_hang():
    error, asked = error_of(fails(400, "'seed', 'temperature' and 'max_tokens' are bad"))
    assert isinstance(error, RequestRefusedError)
    assert "'seed'" in str(error)
    assert asked == 2
