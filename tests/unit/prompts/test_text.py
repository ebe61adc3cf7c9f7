"""The parts that read text: the token window, the language, a model's answer."""

from __future__ import annotations

import random

import pytest

from hummingbird_core.prompts.answers import clean_answer
from hummingbird_core.prompts.language import looks_foreign
from hummingbird_core.prompts.subject import invented_words
from hummingbird_core.prompts.text import fit_window, window_size
from hummingbird_core.text.tokenizer import ClipTokenizer, WordTokenizer

CLIP = ClipTokenizer()
LONG = "An old sailor mends his net on the quay. " * 2 + "Behind him, gulls circle, waves break, "


# window


def test_the_window_is_77_tokens_with_start_and_end():
    assert window_size(CLIP) == 75


@pytest.mark.parametrize("text", ["a fox", "a fox, running.", "", "word " * 74 + "word"])
def test_what_fits_is_left_as_it_is(text):
    fitted = fit_window(text, CLIP)
    assert (fitted.text, fitted.cut_off) == (text, "")
    assert fitted.tokens == CLIP.count(text) <= 75


def test_the_cut_is_after_a_sentence_if_enough_is_left():
    fitted = fit_window("An old sailor mends his net on the quay in the rain. " * 10, CLIP)
    assert fitted.text.endswith("rain.")
    assert fitted.cut_off.startswith("An old sailor")


def test_else_after_a_clause():
    fitted = fit_window("a fox" + ", trotting over the deep snow" * 20, CLIP)
    assert fitted.text.endswith("snow")
    assert fitted.cut_off.startswith("trotting")


def test_else_after_a_word_that_can_stand_last():
    fitted = fit_window("word " * 73 + "in the meadow", CLIP)
    assert fitted.text == ("word " * 73).strip()
    assert fitted.cut_off == "in the meadow"


def test_without_spaces_it_is_cut_between_letters():
    fitted = fit_window("雪" * 100, CLIP)
    assert set(fitted.text) == {"雪"}
    assert fitted.text + fitted.cut_off == "雪" * 100


def test_marks_of_other_scripts_end_clauses_too():
    fitted = fit_window("一只狐狸在雪地里奔跑\N{FULLWIDTH COMMA}" * 10, CLIP)
    assert fitted.text.endswith("奔跑")


def test_any_text_fits_is_a_beginning_and_says_what_was_lost():
    rng = random.Random(0)
    pieces = [
        "fox",
        "the",
        "and",
        ",",
        ".",
        " ",
        "  ",
        "ß",
        "雪",
        "é",
        "&amp;",
        "🦊",
        "'s",
        "42",
        "-",
    ]
    for _ in range(50):
        text = "".join(rng.choices(pieces, k=rng.randrange(200)))
        fitted = fit_window(text, CLIP)
        assert fitted.tokens == CLIP.count(fitted.text) <= 75
        assert text.startswith(fitted.text)
        assert bool(fitted.cut_off) <= (CLIP.count(text) > 75)


def test_the_tokenizer_of_the_model_counts():
    words = WordTokenizer(["a", "red", "circle"])
    assert fit_window("a red circle, " * 30, words).tokens == 75  # CLIP would count the commas
    assert fit_window("a red circle, " * 30, CLIP).text.count("circle") == 19


def test_a_very_long_text_is_quick():
    fitted = fit_window("a fox runs through the snow, " * 500, CLIP)
    assert fitted.tokens <= 75


# language


@pytest.mark.parametrize(
    "prompt",
    [
        "ein Fuchs im Schnee",
        "un renard court dans la neige",
        "un zorro en la nieve",
        "uma raposa na neve, com vento",
        "een vos in het bos met sneeuw onder de bomen",
        "Лиса в снегу",
        "雪の中のキツネ",
        "一只狐狸在雪地里奔跑",
        "ثعلب في الثلج",
        "tilki juoksee lumessa yöllä",
        "Hund läuft in Berlin",
        "in einem Park spielt ein Hund in der Sonne",
        "a menina corre na praia",
        "um gato dorme in casa",
        "La Tour Eiffel de nuit",
    ],
)
def test_other_languages_are_noticed(prompt):
    assert looks_foreign(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "a fox in the snow",
        "fox",
        "a man in a café",
        "the streets of São Paulo at night",
        "I am running",
        "die hard fan in a stadium",
        "🦊",
        "Pokémon battle in the arena",
        "El Niño storm",
        "São Paulo skyline",
        "Los Angeles freeway",
        "a fox in la la land",
        "a girl in a café",
        "jalapeño peppers",
    ],
)
def test_english_is_left_alone(prompt):
    assert not looks_foreign(prompt)


def test_words_about_camera_and_style_are_invented_unless_the_text_has_some():
    better = "a red fox, slow tracking shot, cinematic look"
    assert invented_words("a red fox", better) == ["tracking", "shot", "cinematic"]
    assert invented_words("a red fox, close-up, vintage film", better) == []
    assert invented_words("a red fox at night", "a red fox at night, in the dark") == []


# answers

GOOD = "a fox trots through the snow, soft light"


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        f"  {GOOD}\n",
        f'"{GOOD}"',
        f"“{GOOD}”",
        f"**{GOOD}**",
        f"```\n{GOOD}\n```",
        f"```text\n{GOOD}\n```",
        f"<think>The user wants a fox.\n\nOr a wolf?</think>\n\n{GOOD}",
        f"The user wants a fox.</think>{GOOD}",
        f"<reasoning>hm</reasoning>{GOOD}",
        f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}",
        f"Sure! Here is the enhanced prompt:\n\n{GOOD}",
        f"Sure, here's a better version of your prompt: {GOOD}",
        f"Certainly!\n\n{GOOD}",
        f"Of course. {GOOD}",
        f"Certainly! I'd be happy to help.\n\n{GOOD}",
        "Subject: a fox trots through the snow\nLight: soft light",
        f"Here is the rewritten prompt:\n\n{GOOD}\n\nLet me know if you would like changes!",
        f"Prompt: {GOOD}",
        f"**Enhanced prompt:** {GOOD}",
        f'Enhanced Prompt: "{GOOD}"',
        f"### Prompt\n{GOOD}".replace("Prompt\n", "Prompt:\n"),
        f"{GOOD}\n\nNote: I kept the subject.",
        f"{GOOD}\n\nExplanation:\n- the light is soft",
        f"1. {GOOD}\n2. a wolf howls at the moon",
        "- Subject: a fox trots through the snow\n- **Lighting**: soft light",
        "1. **Subject:** a fox trots through the snow.\n2. Light: soft light.",
        "* a fox trots through the snow\n* soft light",
        "a fox trots through the snow,\nsoft light",
        f"{GOOD}<|im_end|>",
    ],
)
def test_the_prompt_is_found_in_an_answer(answer):
    assert clean_answer(answer) == GOOD


@pytest.mark.parametrize("answer", ["", " \n", "<think>I think and think", '""', "```\n```"])
def test_an_answer_without_a_prompt_is_empty(answer):
    assert clean_answer(answer) == ""


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't create a prompt about two dogs fighting.",
        "I\u2019m sorry, but I can\u2019t assist with that request.",
        '"I am very sorry, I cannot do this."',
        "**I can't help with that.**\n\nA fox in the snow is fine.",
        "I cannot fulfil this request: it shows two dogs fighting.",
        "I won't write that.",
        "I do not feel comfortable with two dogs fighting.",
        "I'm unable to write about two dogs fighting.",
        "I'm not able to do that.",
        "I'm afraid I can't do that.",
        "I must respectfully decline.",
        "Sorry, two dogs fighting is something I can't describe.",
        "Sure! I'm sorry, but I can't.",
        "Unfortunately, I can't create a prompt about two dogs fighting.",
        "As an AI language model, I can't describe violence.",
        "As a prompt-writing assistant, I don't do fights.",
        "My apologies, but two dogs fighting is not something to show.",
        "I apologize, but two dogs fighting is violent.",
        "This request violates the content policy.",
        "Your prompt goes against my guidelines.",
        "It is against my guidelines to show two dogs fighting.",
        "<think>Two dogs fight.</think>I\u2019m sorry, I can\u2019t.",
        "Es tut mir leid, aber ich kann das nicht.",
        "Lo siento, pero no puedo ayudar con eso.",
        "抱歉\N{FULLWIDTH COMMA}我无法满足这个要求。",
    ],
)
def test_a_refusal_is_no_prompt(answer):
    assert clean_answer(answer) == ""


@pytest.mark.parametrize(
    "prompt",
    [
        "a sorry-looking dog in the rain",
        "Sorry-looking dogs in the rain, soft light",
        "I am a robot that walks through the rain",
        "I can fly: clouds below, a bird's view",
        "a robot that can't stop dancing",
        "a sign that says 'I'm sorry', neon light",
        "As an AI robot wakes up, its eyes glow",
        "The request of a knight before his king, torchlight",
        "no one on the beach, I see waves",
        "This is a fox that does not move, soft light",
    ],
)
def test_what_only_sounds_like_a_refusal_is_kept(prompt):
    assert clean_answer(prompt) == prompt


@pytest.mark.parametrize(
    "prompt",
    [
        "Here comes a train, steam rising",
        "Great white shark: close-up, dark water",
        "Sure-footed goats climb a cliff",
        "a sign that says 'open', neon light",
        'a "fox" and a "wolf"',
        "3 foxes run, a 35 mm look",
        "an answer to a prayer: rain over the desert",
        "okay corral at noon, dust in the air",
        "light: the first beam falls on a window",
    ],
)
def test_what_only_looks_like_decoration_is_kept(prompt):
    assert clean_answer(prompt) == prompt


def test_hostile_answers_are_quick():
    for answer in ("<think>" * 20_000, "* " * 50_000, "\n" * 100_000, "a:" * 50_000, "_" * 100_000):
        clean_answer(answer)
