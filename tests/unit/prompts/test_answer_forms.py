"""The forms of language models' answers: JSON, thoughts, fences, quotations, options, controls."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hummingbird_core.errors import printable
from hummingbird_core.prompts import ChatEnhancer, FunctionChat
from hummingbird_core.prompts.answers import clean_answer
from hummingbird_core.prompts.chat_enhancer import LEFT_ALONE, NOT_TRANSLATED
from hummingbird_core.text.tokenizer import ClipTokenizer

GOOD = "A fox runs through deep snow, slow tracking camera, soft morning light, cinematic style."
OTHER = "A red fox leaps in powder snow at dawn."
CLIP = ClipTokenizer()


@pytest.mark.parametrize(
    "answer",
    [
        f'```json\n{{"prompt": "{GOOD}"}}\n```',
        f'{{"prompt": "{GOOD}", "negative_prompt": "blurry, text"}}',
        f'{{"negative_prompt": "blurry, text", "Enhanced Prompt": "{GOOD}"}}',
        f'{{"result": {{"prompts": [{{"text": "{GOOD}", "weight": 1}}]}}}}',
        f'[{{"prompt": "{GOOD}"}}, {{"prompt": "{OTHER}"}}]',
        f'["{GOOD}", "{OTHER}"]',
        f'Here is the prompt in JSON:\n\n{{"video_prompt": "{GOOD}"}}\n\nEnjoy!',
        f'{{"scene": "{GOOD}", "seed": 3, "negative": "text"}}',
        f'<think>JSON?</think>\n```\n{{\n "prompt":\n "{GOOD}"\n}}\n```',
        f'{{"prompt": "A fox\\u001b[31m runs\\u0000{GOOD[10:]}"}}',
        f'"{GOOD}"',
    ],
)
def test_the_prompt_in_json_is_taken(answer):
    assert clean_answer(answer) == GOOD


@pytest.mark.parametrize(
    "answer",
    [
        *('{"prompt": "A fox runs thr', '{"prompt": null}', "{}", "[]", '{"a": "x", "b": "y"}'),
        *(
            "{'prompt': 'A fox'}",
            '{"negative_prompt": "blurry"}',
            "[" * 8000,
            '{"a":' * 3000,
            '```json\n{"prompt": \n```',
        ),
    ],
)
def test_json_without_a_prompt_is_no_prompt(answer):
    assert clean_answer(answer) == ""


@pytest.mark.parametrize("prompt", ["[neon] a city at night", "{a fox} in the snow", "a [b] c"])
def test_brackets_are_no_json(prompt):
    assert clean_answer(prompt) == prompt


@pytest.mark.parametrize(
    "thoughts",
    [
        *("◁think▷The fox should be in snow.◁/think▷", "<seed:think>The fox</seed:think>"),
        "<|begin_of_thought|>plan<|end_of_thought|>\n<|begin_of_solution|>",
        "Here is my thought process:\nThe user wants a fox.\n\nHere is my response:\n",
        *("[THINK]a fox[/THINK]", "<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>"),
        *(
            "<unused94>thought\nhm<unused95>",
            "<analysis>a fox</analysis>",
            "<thoughts>x</thoughts>",
        ),
        "**Reasoning:** snow is white.\n\n**Final prompt:** ",
        *("<think>\n<think>twice</think>\n</think>", "the fox</thinking>", "<THINK>x</THINK>"),
        "Thinking: a fox.\nAnswer: ",
    ],
)
def test_thoughts_are_left_out(thoughts):
    assert clean_answer(thoughts + GOOD) == GOOD


@pytest.mark.parametrize(
    "thoughts",
    ["◁think▷The fox", "<seed:think>x", "<|begin_of_thought|>x", "Here is my thought process:\nx"],
)
def test_thoughts_that_were_cut_off_are_no_prompt(thoughts):
    assert clean_answer(thoughts) == ""


@pytest.mark.parametrize(
    "answer",
    [
        f"Here is the prompt:\n\n```text\n{GOOD}\n```\n\nLet me know if you want changes!",
        f"I made it better for you.\n\n~~~\n{GOOD}\n~~~\nShorter?",
        f'Sure! Here\'s an enhanced prompt for your video:\n\n> "{GOOD}"\n\n---\n*Tip: short.*',
        "I like it.\n\n> A fox runs through deep snow, slow tracking camera,\n"
        "> soft morning light, cinematic style.\n\nMore?",
        f"<prompt>{GOOD}</prompt> Enjoy!",
        f"I kept the fox.\n<answer>\n{GOOD}\n</answer>",
        f"**Option 1:** {GOOD}\n\n**Option 2:** {OTHER}",
        f"Here are two options:\n\n**Option 1:**\n{GOOD}\n\n**Option 2:**\n{OTHER}",
        f"Option A (calm): {GOOD}\n\nOption B (wild): {OTHER}",
        f"### Version 1\n\n{GOOD}\n\n### Version 2\n\n{OTHER}",
        f"Variation 1 - {GOOD}\nVariation 2 - {OTHER}",
        f"**Prompt 1: The Chase**\n\n{GOOD}\n\n**Prompt 2: The Leap**\n\n{OTHER}",
        f"1. {GOOD}\n2. {OTHER}\n3. A fox sleeps",
        f"Here are three variations of your idea:\n\n1) {GOOD}\n2) {OTHER}",
    ],
)
def test_one_prompt_is_taken_from_quotations_and_options(answer):
    assert clean_answer(answer) == GOOD


@pytest.mark.parametrize(
    "answer",
    [
        f"Positive prompt: {GOOD}\nNegative prompt: blurry, text",
        f"prompt: {GOOD}\nnegative: blurry",
        f"**Title:** The Fox\n**Prompt:** {GOOD}",
        f"Here you go:\n\n{GOOD}",
        f"Absolutely — here's your prompt: {GOOD}",
        f"{GOOD} (14 words)",
        f"{GOOD}\n\n(about 14 words)",
        f"{GOOD}\nNote: I kept the fox.",
        f"{GOOD}\n**Why this works:** the light.",
        "1. A fox runs through deep snow, slow tracking camera,\n   soft morning light, cinematic "
        f"style.\n2. {OTHER}",
        f"<enhanced_prompt>{GOOD}</enhanced_prompt>",
        f"<video_prompt>\n{GOOD}\n</video_prompt>\n<notes>short</notes>",
    ],
)
def test_what_stands_around_the_prompt_is_left_out(answer):
    assert clean_answer(answer) == GOOD


@pytest.mark.parametrize(
    "answer",
    [
        "A fox runs\0 through deep snow\u2028 slow camera\a",
        "A fox runs \x1b[31mthrough\x1b[0m deep snow \x1b]52;c;Zm9v\aslow camera",
        "A fox runs through \x9b31mdeep snow slow\r\ncamera\b\b\b",
        "A fox \u202eruns\u202c through deep\u2029snow\ufeff slow camera\ud83d",
        "A fox runs\x0bthrough\x0cdeep\u0085snow slow cam\u00adera\U000e0041",
    ],
)
def test_controls_are_taken_out(answer):
    assert clean_answer(answer) == "A fox runs through deep snow slow camera"


@pytest.mark.parametrize(
    "answer", ["🦊❄️ A fox runs 🎥 ✨", "👩‍🚀 on the moon", "a café, naïve — “so”"]
)
def test_emoji_and_accents_stay(answer):
    assert clean_answer(answer) == answer


K16 = 16_000
LONG = {
    "words": "a fox in the snow " * (K16 // 18),
    "one word": "a fox in the snow " + "x" * (K16 - 20),
    "here is prompt": "Here is " + "prompt " * (K16 // 7 - 2),
    "spaces": "a fox in the snow" + " " * (K16 - 20) + "x",
    "line ends": "a fox in the snow" + "\n \t" * (K16 // 3 - 10) + "x",
    "blank lines": "\n" * K16,
    "thoughts": "<think>" * (K16 // 7),
    "nested thoughts": "<think>" * 1000 + "</think>" * 1000 + "a fox",
    "noes": "no, " * (K16 // 4),
    "lists": "- " * (K16 // 2),
    "list": "\n".join(["- a fox in the snow"] * (K16 // 20)),
    "quotes": '"' * K16,
    "underscores": "_a_ " * (K16 // 4),
    "stars": "*" * K16,
    "combining": "a fox " + "e\u0301" * (K16 // 3 - 10),
    "entities": "a fox " + "&amp;" * (K16 // 5 - 10),
    "mojibake": "a fox " + "Ã©" * (K16 // 4 - 10),
    "fences": "```\n" * (K16 // 4),
    "blockquotes": "> " * (K16 // 2),
    "blockquote lines": ">\n" * (K16 // 2),
    "brackets": "[" * K16,
    "braces": "{\n" * (K16 // 2),
    "open tags": "<answer>" * (K16 // 8),
    "escapes": "\x1b]" * (K16 // 2),
    "controls": "\x1b[" * (K16 // 2),
    "options": "option 1: " * (K16 // 10),
    "colons": "a:" * (K16 // 2),
    "dashes": "- \n" * (K16 // 3),
    "notes": "a fox\nnote " * (K16 // 11),
    "parentheses": "a fox (" * (K16 // 7),
    "items": "1. a\nb\n" * (K16 // 7),
}


@pytest.mark.parametrize("case", LONG)
def test_a_long_answer_is_cleaned_and_fitted_in_time(case):
    chat = FunctionChat(lambda *_: LONG[case], "m")
    start = time.process_time()
    result = ChatEnhancer(chat, CLIP).enhance("a fox in the snow", 0)
    assert time.process_time() - start < 2.0
    assert result.tokens <= 75


@pytest.mark.parametrize("answer", ["a fox in the snow " * 230_000, "狐" * 6000, "x" * 16_385])
def test_an_answer_of_more_than_16_kb_is_no_prompt(answer):
    result = ChatEnhancer(FunctionChat(lambda *_: answer, "m"), CLIP).enhance("a fox", 0)
    assert (result.text, result.notes) == ("a fox", (LEFT_ALONE,))


@pytest.mark.parametrize(
    "answer",
    [
        "一只狐狸在雪地里奔跑、镜头缓慢跟随、清晨柔和的光线。",
        "Лиса бежит по глубокому снегу, мягкий утренний свет",
        "Ein Fuchs läuft durch den Schnee, die Kamera folgt ihm mit der Sonne",
        "Un renard court dans la neige avec une lumière douce",
    ],
)
def test_a_foreign_answer_is_asked_for_again_and_never_appended(answer):
    asked: list[str] = []

    def answers(system: str, question: str, seed: int) -> str:
        asked.append(question)
        return answer

    result = ChatEnhancer(FunctionChat(answers, "m"), CLIP).enhance("a fox in the snow", 0)
    assert "not in English" in asked[1]
    assert (result.text, result.notes) == ("a fox in the snow", (LEFT_ALONE,))


def test_a_translation_into_another_language_is_none():
    lines = iter(["一只狐狸在雪地里奔跑", "fox", "fox"])
    chat = FunctionChat(lambda *_: next(lines), "m")
    result = ChatEnhancer(chat, CLIP).enhance("雪の中のキツネ", 0)
    assert NOT_TRANSLATED in result.notes
    assert result.english is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["prompt", "text", "a"]) | st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)
PIECES = st.sampled_from(
    [
        *(
            "<think>",
            "</think>",
            "```",
            "```json\n",
            "\n",
            "\n\n",
            "> ",
            "- ",
            "1. ",
            "**",
            '"',
            "{",
        ),
        *(
            "Option 1: ",
            "Sure! ",
            "Here is the prompt: ",
            "<answer>",
            "I'm sorry, ",
            "[",
            ": ",
            "\x1b[",
        ),
        *("a fox ", "\ud800", "\u2028", "<|channel|>final<|message|>", "Prompt: ", "◁think▷"),
    ]
)


@settings(deadline=2000)
@given(
    st.text(st.characters(), max_size=400)
    | st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join)
    | JSON.map(json.dumps)
    | JSON.map(lambda value: f"```json\n{json.dumps(value, indent=1)}\n```")
)
def test_any_answer_becomes_one_line(answer):
    prompt = clean_answer(answer)
    assert printable(prompt) == prompt
    assert prompt == " ".join(prompt.split())
    assert prompt.encode() is not None  # no half of a surrogate pair
