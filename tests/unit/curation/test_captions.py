"""Caption rewriting against a real HTTP server that fails, comes back, or stays away."""

from __future__ import annotations

import shutil
import socket

import pytest
from support.chat_server import chat_server, fails, says

from hummingbird_core.curation.captions import (
    FIRST_PAUSE,
    CaptionConfig,
    open_enhancer,
    rewrite_captions,
)
from hummingbird_core.engines.journal import read_journal
from hummingbird_core.errors import HummingbirdError, InputError
from hummingbird_core.prompts import ChatEnhancer
from hummingbird_core.prompts.backends.openai import ServerChat
from hummingbird_core.prompts.backends.server_errors import ServerError
from hummingbird_core.prompts.chat_enhancer import SYSTEM_PROMPTS
from hummingbird_core.text.tokenizer import ClipTokenizer

BETTER = "a red fox trots through deep snow, soft light"
CAPTIONS = ["a red fox", "a red fox in the snow", "", "a red fox"]


def enhancer(url: str) -> ChatEnhancer:
    chat = ServerChat(url, "tiny", attempts=1, timeout=5.0)
    return ChatEnhancer(chat, ClipTokenizer())


def settings(**changes) -> CaptionConfig:
    return CaptionConfig(**{"source": "server", "parallel": 1, "failure_budget": 3, **changes})


def no_wait(seconds: float) -> None:
    raise AssertionError(f"waited {seconds} s")


def test_each_caption_is_asked_for_once_and_kept(tmp_path):
    journal = tmp_path / "captions.jsonl"
    with chat_server(says(BETTER)) as server:
        first = rewrite_captions(CAPTIONS, enhancer(server.url), settings(), journal, no_wait)
        asked = len(server.requests)
        again = rewrite_captions(CAPTIONS, enhancer(server.url), settings(), journal, no_wait)
        assert len(server.requests) == asked == 2
    assert first == again == dict.fromkeys(["a red fox", "a red fox in the snow"], BETTER)


def test_a_server_that_fails_for_a_while_only_costs_time(tmp_path):
    pauses = []
    broken = [fails(503)] * 3
    with chat_server(*broken, says(BETTER)) as server:
        done = rewrite_captions(
            CAPTIONS, enhancer(server.url), settings(), tmp_path / "journal", pauses.append
        )
    assert set(done.values()) == {BETTER}
    assert pauses == [FIRST_PAUSE, 2 * FIRST_PAUSE]  # two requests failed, then one


def test_a_dead_server_spends_the_budget_and_what_is_done_is_kept(tmp_path):
    journal, pauses = tmp_path / "journal", []
    with chat_server(says(BETTER)) as server:
        rewrite_captions(["a red fox"], enhancer(server.url), settings(), journal, no_wait)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = enhancer(f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        with pytest.raises(HummingbirdError, match="run the same command again"):
            rewrite_captions(CAPTIONS, dead, settings(), journal, pauses.append)
    assert len(pauses) == 3  # the budget
    assert [key for key, _ in read_journal(journal)] == ["a red fox"]


def test_an_address_where_nothing_is_reached_costs_minutes_and_not_hours(tmp_path):
    pauses = []
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = enhancer(f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        with pytest.raises(HummingbirdError, match="9 requests for captions in a row"):
            rewrite_captions(
                CAPTIONS, dead, settings(failure_budget=100), tmp_path / "j", pauses.append
            )
    assert sum(pauses) < 600
    assert list(read_journal(tmp_path / "j")) == []


MANY = [f"a red fox, {number} trees" for number in range(100)]
BAD = "a red fox, 7 trees"


def rewrite_many(server, journal, wait=no_wait, captions=MANY, **changes):
    """With eight requests at a time, that is 32 in a round."""
    how = settings(**{"parallel": 8, "failure_budget": 100, **changes})
    return rewrite_captions(captions, enhancer(server.url), how, journal, wait)


def test_while_the_server_is_away_one_request_a_pause_is_enough(tmp_path):
    pauses = []
    with chat_server(*[fails(503)] * (32 + 6), says(BETTER)) as server:
        done = rewrite_many(server, tmp_path / "journal", pauses.append)
    assert done == dict.fromkeys(MANY, BETTER)
    assert pauses == [5, 10, 20, 40, 80, 120, 120]


def test_a_busy_server_that_answers_some_never_spends_the_budget(tmp_path):
    pauses = []
    with chat_server(*[says(BETTER), fails(429)] * 32, says(BETTER)) as server:
        done = rewrite_many(server, tmp_path / "journal", pauses.append, failure_budget=1)
    assert done == dict.fromkeys(MANY, BETTER)
    assert pauses == [5, 5]


@pytest.mark.parametrize("budget", [2, 100])
def test_one_caption_that_always_fails_stops_only_itself(tmp_path, caplog, budget):
    journal, pauses = tmp_path / "journal", []
    with chat_server(says(BETTER)) as server:
        server.special = {BAD: fails(500, "the model crashed")}
        done = rewrite_many(server, journal, pauses.append, failure_budget=budget)
        assert done == {**dict.fromkeys(MANY, BETTER), BAD: ""}
        assert sum(pauses) < 120
        assert f"{BAD!r} stays as it is" in caplog.text
        assert rewrite_many(server, journal, pauses.append) == done  # nor the next time
        assert sum(pauses) < 240
        server.special = {}
        assert rewrite_many(server, journal) == dict.fromkeys(MANY, BETTER)


def test_a_server_that_dies_on_everything_is_not_the_captions_fault(tmp_path):
    with chat_server(fails(500)) as server, pytest.raises(HummingbirdError, match="in a row"):
        rewrite_many(server, tmp_path / "journal", [].append, failure_budget=9)
    assert list(read_journal(tmp_path / "journal")) == []


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_caption_that_the_server_refuses_stays_as_it_is(tmp_path, status):
    with chat_server(says(BETTER)) as server:
        server.special = {BAD: fails(status, "content filter")}
        done = rewrite_many(server, tmp_path / "journal")
        assert done == {**dict.fromkeys(MANY, BETTER), BAD: ""}
        assert rewrite_many(server, tmp_path / "journal") == done


@pytest.mark.parametrize("captions", [MANY, [BAD]])
def test_a_server_that_refuses_everything_is_an_error(tmp_path, captions):
    with (
        chat_server(fails(400, "unknown model")) as server,
        pytest.raises(ServerError, match="unknown model"),
    ):
        rewrite_many(server, tmp_path / "journal", captions=captions, failure_budget=20)
    assert len(server.requests) <= 32


def test_a_refusal_stops_at_once(tmp_path):
    with chat_server(fails(401, "wrong key")) as server, pytest.raises(ServerError, match="401"):
        rewrite_captions(CAPTIONS, enhancer(server.url), settings(), tmp_path / "journal", no_wait)


def test_a_caption_that_cannot_be_rewritten_stays_as_it_is(tmp_path):
    with chat_server(says(BETTER)) as server:
        done = rewrite_captions(
            ["x" * 10_001, "a red fox"],
            enhancer(server.url),
            settings(),
            tmp_path / "journal",
            no_wait,
        )
    assert done == {"x" * 10_001: "", "a red fox": BETTER}


def test_a_model_that_refuses_leaves_the_caption_as_it_is(tmp_path, caplog):
    with chat_server(says("I'm sorry, but I can't write about a red fox.")) as server:
        done = rewrite_captions(
            ["a red fox"], enhancer(server.url), settings(), tmp_path / "journal", no_wait
        )
    assert done == {"a red fox": ""}
    assert "stays as it is" in caplog.text


def test_the_key_changes_with_the_wording_only():
    assert settings().cache_key() == settings(parallel=4, failure_budget=1).cache_key()
    assert (
        len(
            {settings(**{name: "x"}).cache_key() for name in ("model", "url")}
            | {settings().cache_key()}
        )
        == 3
    )


def test_an_edited_system_prompt_is_another_wording(tmp_path, monkeypatch):
    before = {source: settings(source=source).cache_key() for source in ("server", "local")}
    shutil.copytree(SYSTEM_PROMPTS, tmp_path / "system")
    monkeypatch.setattr(
        "hummingbird_core.prompts.chat_enhancer.SYSTEM_PROMPTS", tmp_path / "system"
    )
    assert settings().cache_key() == before["server"]
    (tmp_path / "system" / "caption.txt").write_text("Write it as a haiku.")
    changed = {source for source in before if settings(source=source).cache_key() != before[source]}
    assert changed == {"server", "local"}


def test_an_expander_is_no_source_of_captions():
    with pytest.raises(InputError, match="invents what no clip shows"):
        settings(source="builtin")


def test_the_language_model_is_told_to_add_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HUMMINGBIRD_CACHE", str(tmp_path / "cache"))
    with chat_server(says(BETTER)) as server, open_enhancer(settings(url=server.url)) as enhancer:
        enhancer.enhance("a red fox")
    assert "Add nothing" in str(server.requests[0])


def test_an_answer_that_invents_a_camera_leaves_the_caption_as_it_is(tmp_path, caplog):
    with chat_server(says("a red fox trots, slow tracking shot, cinematic look")) as server:
        done = rewrite_captions(
            ["a red fox"], enhancer(server.url), settings(), tmp_path / "journal", no_wait
        )
    assert done == {"a red fox": ""}
    assert "invented tracking, shot, cinematic" in caplog.text


def test_bad_settings():
    with pytest.raises(InputError, match="parallel"):
        settings(parallel=0)
