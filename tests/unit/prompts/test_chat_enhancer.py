"""Prompts rewritten by a language model that is right, wrong, silent, foreign or remembered."""

from __future__ import annotations

import json
import logging

import pytest
from support.chat_server import chat_server, fails, says

from hummingbird_core.nano.world.captions import vocabulary
from hummingbird_core.prompts import ChatEnhancer, FunctionChat, create_enhancer
from hummingbird_core.prompts.backends.server_errors import ServerUnavailableError
from hummingbird_core.prompts.cache import CachedChat, default_cache_dir
from hummingbird_core.prompts.chat_enhancer import SYSTEM_PROMPTS, system_prompt
from hummingbird_core.text.tokenizer import ClipTokenizer, WordTokenizer

CLIP = ClipTokenizer()
NANO = WordTokenizer.from_words(vocabulary())
GOOD = "a red fox trots through deep snow, steady low-angle shot, soft light"


class Script:
    """A language model that says its lines in order and keeps what it was asked."""

    def __init__(self, *lines: str):
        self.lines = list(lines)
        self.systems: list[str] = []
        self.questions: list[str] = []

    def __call__(self, system: str, question: str, seed: int) -> str:
        self.systems.append(system)
        self.questions.append(question)
        return self.lines.pop(0)


def enhance(prompt, *lines, tokenizer=CLIP, **settings):
    """The result, and the model with what it was asked. All lines must have been used."""
    script = Script(*lines)
    chat = FunctionChat(script, "a node's model")
    result = ChatEnhancer(chat, tokenizer, **settings).enhance(prompt, seed=4)
    assert script.lines == []
    return result, script


def test_a_good_answer_is_taken():
    result, script = enhance("a red fox in the snow", f"Sure! Here is your prompt:\n\n{GOOD}")
    assert result.text == GOOD
    assert result.original == "a red fox in the snow"
    assert (result.source, result.model, result.seed) == ("comfyui", "a node's model", 4)
    assert result.tokens == CLIP.count(GOOD)
    assert (result.cut_off, result.english, result.notes) == ("", None, ())
    assert script.questions == ["a red fox in the snow"]


def test_the_record_for_the_video_can_go_into_json():
    result, _ = enhance("a red fox", GOOD)
    assert json.loads(json.dumps(result.record())) == {
        "original_prompt": "a red fox",
        "enhancer": {"source": "comfyui", "model": "a node's model", "seed": 4},
    }


def test_an_answer_that_is_too_long_is_cut_at_a_border():
    result, _ = enhance("a red fox", GOOD + ", while snow falls over the silent pines" * 10)
    assert result.tokens <= 75
    assert result.text.startswith(GOOD)
    assert result.text.endswith("pines")
    assert "silent pines" in result.cut_off


# the subject is kept


def test_a_lost_subject_is_asked_for_again():
    result, script = enhance("a red fox", "a wolf in the snow", GOOD)
    assert result.text == GOOD
    assert "lost: red, fox" in script.questions[1]
    assert result.notes == ()


@pytest.mark.parametrize(
    "prompt", ["At night, a red fox runs", "Cinematic, 4k, a red fox in the snow"]
)
def test_a_subject_that_does_not_come_first_is_kept_as_well(prompt):
    result, script = enhance(prompt, "a wolf at night, cinematic", "a wolf at night, cinematic")
    assert "red, fox" in script.questions[1]
    assert result.text == f"{prompt}, a wolf at night, cinematic"


def test_a_subject_lost_twice_is_put_first():
    result, _ = enhance("a red fox.", "a wolf in the snow", "a wolf, soft light")
    assert result.text == "a red fox, a wolf, soft light"
    assert "your own words" in result.notes[0]


def test_a_subject_beyond_the_window_counts_as_lost():
    late = "soft light over the hills, " * 20 + "a red fox"
    result, script = enhance("a red fox", late, late)
    assert "lost: red, fox" in script.questions[1]
    assert result.text.startswith("a red fox, soft light")


REFUSAL = "I'm sorry, but I can't create a prompt about two dogs fighting."


@pytest.mark.parametrize("nothing", ["", "<think>hm", '""', REFUSAL])
def test_a_model_that_says_nothing_leaves_the_prompt_alone(nothing):
    result, _ = enhance("a red fox", nothing, nothing)
    assert result.text == "a red fox"
    assert "no usable answer" in result.notes[0]


def test_a_refusal_is_not_taken_for_its_words():
    result, script = enhance("two dogs fighting", REFUSAL, REFUSAL)
    assert result.text == "two dogs fighting"
    assert "held no prompt" in script.questions[1]
    assert "no usable answer" in result.notes[0]


# other languages


def test_a_prompt_in_another_language_is_translated_first():
    result, script = enhance("ein roter Fuchs im Schnee", '"A red fox in the snow"', GOOD)
    assert script.systems[0] == system_prompt("translate")
    assert script.questions == ["ein roter Fuchs im Schnee", "A red fox in the snow"]
    assert result.text == GOOD
    assert result.english == "A red fox in the snow"
    assert result.original == "ein roter Fuchs im Schnee"


def test_the_subject_of_the_translation_is_kept():
    result, _ = enhance("雪の中のキツネ", "A fox in the snow", "a wolf", "a wolf")
    assert result.text == "A fox in the snow, a wolf"


@pytest.mark.parametrize("nothing", ["", "申し訳ありませんが、できません。"])
def test_without_a_translation_the_prompt_itself_is_used(nothing):
    result, _ = enhance("雪の中のキツネ", nothing, "fox", "fox")
    assert result.text == "雪の中のキツネ, fox"
    assert "no translation" in result.notes[0]


# a video model that knows few words


def test_the_built_in_model_is_spoken_to_in_its_own_words():
    result, script = enhance(
        "a crimson ball rolls to the right", "a red circle moves right", tokenizer=NANO
    )
    assert result.text == "a red circle moves right"
    assert "magenta" in script.systems[0]
    assert "$" not in script.systems[0]


def test_words_that_it_does_not_know_are_asked_to_be_left_out():
    result, script = enhance(
        "a red circle", "a red circle, cinematic", "a red circle moves up", tokenizer=NANO
    )
    assert "cinematic" in script.questions[1]
    assert result.text == "a red circle moves up"


def test_a_model_that_does_not_listen_changes_nothing():
    result, _ = enhance("a red circle moves up", GOOD, GOOD, tokenizer=NANO)
    assert result.text == "a red circle moves up"


# system prompts


@pytest.mark.parametrize("path", sorted(SYSTEM_PROMPTS.glob("*.txt")), ids=lambda path: path.stem)
def test_system_prompts_are_text_files(path):
    assert len(path.read_text(encoding="utf-8").split()) > 20


def test_each_task_has_its_system_prompt():
    names = {path.stem for path in SYSTEM_PROMPTS.glob("*.txt")}
    prompts = {"video", "small_vocabulary", "translate"}
    assert names == prompts | {"caption", "describe_short", "describe_long"}


def test_the_system_prompt_says_how_long_the_answer_may_be():
    _, script = enhance("a red fox", GOOD)
    assert "at most 45 words" in script.systems[0]


def test_the_system_prompt_can_be_replaced():
    _, script = enhance("a red fox", GOOD, system="In $words words, costs $5.")
    assert script.systems == ["In 45 words, costs $5."]


# cache


def test_a_question_is_asked_once(tmp_path):
    script = Script("one", "two", "three")
    chat = CachedChat(FunctionChat(script, "m"), tmp_path / "new" / "folder")
    assert [chat.answer("s", "q", 0) for _ in range(3)] == ["one"] * 3
    assert chat.answer("s", "q", 1) == "two"  # another seed
    assert chat.answer("other", "q", 0) == "three"  # another system prompt


def test_answers_outlive_the_process_but_not_the_model(tmp_path):
    CachedChat(FunctionChat(Script("one"), "m"), tmp_path).answer("s", "q", 0)
    assert CachedChat(FunctionChat(Script(), "m"), tmp_path).answer("s", "q", 0) == "one"
    assert CachedChat(FunctionChat(Script("two"), "n"), tmp_path).answer("s", "q", 0) == "two"


def test_an_empty_answer_is_not_kept(tmp_path):
    chat = CachedChat(FunctionChat(Script(" ", "one"), "m"), tmp_path)
    assert [chat.answer("s", "q", 0) for _ in range(2)] == [" ", "one"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"answer": 3}', b"\xff\xff"])
def test_a_damaged_entry_is_made_again(tmp_path, damage):
    chat = CachedChat(FunctionChat(Script("one", "two"), "m"), tmp_path)
    chat.answer("s", "q", 0)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(damage)
    assert chat.answer("s", "q", 0) == "two"
    assert json.loads(entry.read_text())["answer"] == "two"


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    chat = CachedChat(FunctionChat(Script("one"), "m"), tmp_path / "file" / "folder")
    with caplog.at_level(logging.WARNING):
        assert chat.answer("s", "q", 0) == "one"
    assert "not cached" in caplog.text


def test_where_the_cache_is_can_be_said(monkeypatch, tmp_path):
    monkeypatch.setenv("HUMMINGBIRD_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("HUMMINGBIRD_CACHE")
    assert default_cache_dir().name == "hummingbird"


# with a server


def test_a_server_that_died_is_an_error_and_what_was_answered_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("hummingbird_core.prompts.backends.openai.time.sleep", lambda _: None)
    with chat_server(says(GOOD), fails(503)) as server:
        settings = {"model": "tiny", "url": server.url, "cache_dir": tmp_path}
        enhancer = create_enhancer("server", CLIP, **settings)
        assert enhancer.enhance("a red fox").text == GOOD
        with pytest.raises(ServerUnavailableError):
            enhancer.enhance("a grey wolf")
    assert enhancer.enhance("a red fox").text == GOOD  # the server is gone


def test_an_answer_that_is_too_long_costs_one_more_question(tmp_path, caplog):
    with chat_server(says("a red fox " * 2000), says(GOOD)) as server:
        enhancer = create_enhancer("server", CLIP, url=server.url, cache_dir=tmp_path)
        assert enhancer.enhance("a red fox").text == GOOD
    assert "held no prompt" in server.questions[1]
    assert "got an answer of 20 kB" in caplog.text


def test_the_servers_questions_hold_the_system_prompt_and_the_seed(tmp_path):
    with chat_server(says(GOOD)) as server:
        enhancer = create_enhancer("server", CLIP, url=server.url, cache_dir=tmp_path)
        result = enhancer.enhance("a red fox", seed=11)
    assert result.model == "tiny"
    assert server.requests[0]["seed"] == 11
    assert "text-to-video" in server.requests[0]["messages"][0]["content"]
