"""The built-in expander: properties that hold for any prompt and seed."""

from __future__ import annotations

import itertools
import random

import pytest

from hummingbird_core.errors import InputError
from hummingbird_core.nano.world.captions import vocabulary
from hummingbird_core.nano.world.stream import samples
from hummingbird_core.prompts import BuiltinEnhancer, phrases
from hummingbird_core.prompts.subject import lost_words, subject_words
from hummingbird_core.text.tokenizer import ClipTokenizer, WordTokenizer

CLIP = ClipTokenizer()
BUILTIN = BuiltinEnhancer(CLIP)
PROMPTS = (
    "a fox in the snow",
    "A woman dancing at night!",
    "two old dogs",
    "a steam train crosses a bridge",
    "mountain lake, mist",
    "teapot",
    "a close-up of a bee, cinematic",
    "the sea",
    "  a   city  street\nin the rain. ",
    "雪の中のキツネ",
)
ADDITIONS = [
    *itertools.chain(*phrases.MOTION.values()),
    *(*phrases.SMOOTH_MOTION, *phrases.CAMERA, *phrases.LIGHT),
    *(*phrases.OUTDOOR_LIGHT, *phrases.STYLE, *phrases.DETAIL),
]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_the_users_words_come_first_and_unchanged(prompt, seed):
    result = BUILTIN.enhance(prompt, seed)
    words = " ".join(prompt.split()).rstrip(".!")
    assert result.text.startswith(words)
    assert len(result.text) > len(words)
    assert lost_words(subject_words(prompt), result.text) == []
    assert result.original == prompt


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_result_fits_and_is_counted_by_the_real_tokenizer(prompt):
    result = BUILTIN.enhance(prompt)
    assert result.tokens == CLIP.count(result.text) <= result.room == 75
    assert CLIP.tokenize(result.text).dropped == ""
    assert result.cut_off == ""


def test_the_same_seed_gives_the_same_prompt():
    again = BuiltinEnhancer(ClipTokenizer())
    assert [BUILTIN.enhance(p, 7) for p in PROMPTS] == [again.enhance(p, 7) for p in PROMPTS]


def test_another_seed_gives_another_prompt():
    texts = {BUILTIN.enhance("a fox in the snow", seed).text for seed in range(100)}
    assert len(texts) > 90  # of 3,840 wordings


def test_in_a_batch_not_all_prompts_get_the_same_words():
    subjects = ("a red fox", "a grey fox", "an old fox", "a young fox", "a shy fox")
    endings = {BUILTIN.enhance(prompt).text.removeprefix(prompt) for prompt in subjects}
    assert len(endings) > 1


def test_all_five_aspects_are_filled():
    text = BUILTIN.enhance("a fox in the snow").text
    for options in (
        phrases.MOTION["animal"],
        phrases.CAMERA,
        phrases.LIGHT,
        phrases.STYLE,
        phrases.DETAIL,
    ):
        assert any(text.count(phrase) == 1 for phrase in options)


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("a fox, close-up", phrases.CAMERA),
        ("an aerial view of a forest", phrases.CAMERA),
        ("a fox at night", phrases.LIGHT),
        ("a lake at sunset", phrases.LIGHT + phrases.OUTDOOR_LIGHT),
        ("a fox, anime style", phrases.STYLE),
        ("an oil painting of a fox", phrases.STYLE),
        ("a fox, highly detailed", phrases.DETAIL),
        ("a fox standing still", phrases.SMOOTH_MOTION + phrases.MOTION["animal"]),
    ],
)
def test_what_the_user_said_is_not_said_again(said, options):
    for seed in range(20):
        added = BUILTIN.enhance(said, seed).text.removeprefix(said)
        assert added
        assert not any(phrase in added for phrase in options)


def test_the_first_word_that_is_known_decides_what_kind_of_subject_it_is():
    text = BUILTIN.enhance("a woman on a beach").text
    assert any(phrase in text for phrase in phrases.MOTION["person"])


def test_only_an_outdoor_subject_gets_the_light_of_the_day():
    texts = [BUILTIN.enhance("a teapot on a table", seed).text for seed in range(50)]
    assert not any(phrase in text for phrase in phrases.OUTDOOR_LIGHT for text in texts)


def test_no_phrase_is_in_two_lists_or_holds_a_comma():
    assert len(set(ADDITIONS)) == len(ADDITIONS)
    assert not any("," in phrase or "." in phrase for phrase in ADDITIONS)


def test_a_prompt_with_little_room_gets_what_fits():
    prompt = "fox " * 70
    result = BUILTIN.enhance(prompt)
    assert result.text.startswith(prompt.strip())
    assert 70 < result.tokens <= 75


def test_a_prompt_that_is_too_long_is_cut_and_says_so():
    result = BUILTIN.enhance("a fox in the snow, " * 30)
    assert result.tokens <= 75
    assert result.text.endswith("a fox in the snow")
    assert result.cut_off.startswith("a fox in the snow")
    assert "fills the text window" in result.notes[0]


def test_other_languages_are_kept_and_the_user_is_told():
    result = BUILTIN.enhance("ein Fuchs im Schnee")
    assert result.text.startswith("ein Fuchs im Schnee, ")
    assert "does not translate" in result.notes[0]


def test_the_words_of_the_built_in_model_are_left_alone():
    nano = BuiltinEnhancer(WordTokenizer.from_words(vocabulary()))
    for *_, caption in itertools.islice(samples(0), 50):
        result = nano.enhance(caption, seed=3)
        assert result.text == caption
        assert "knows none of the words" in result.notes[0]


def test_a_small_vocabulary_gets_the_phrases_it_knows():
    tokenizer = WordTokenizer.from_words(["a fox", "low-angle shot", *phrases.STYLE])
    texts = {BuiltinEnhancer(tokenizer).enhance("a fox", seed).text for seed in range(60)}
    assert any("low-angle shot" in text for text in texts)
    assert not any(tokenizer.unknown_words(tokenizer.clean(text)) for text in texts)


def test_any_text_at_all_is_handled():
    rng = random.Random(0)
    letters = ["fox ", "a", "\n", "😀", "\u202e", "雪", "<", "&lt;", '"', "{}", "%s", ","]
    for seed in range(60):
        prompt = "".join(rng.choices(letters, k=rng.randrange(1, 60))) + "x"
        result = BUILTIN.enhance(prompt, seed)
        assert result.tokens == CLIP.count(result.text) <= 75


@pytest.mark.parametrize("prompt", ["", "  \n", "a" * 10_001])
def test_a_prompt_of_no_use_is_refused(prompt):
    with pytest.raises(InputError, match="prompt"):
        BUILTIN.enhance(prompt)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(InputError, match="seed"):
        BUILTIN.enhance("a fox", seed)


def test_a_prompt_over_time_is_refused():
    """Words behind its end would belong to its last text alone."""
    with pytest.raises(InputError, match="prompt over time"):
        BUILTIN.enhance("0: a fox runs; 24: a fox sleeps", 0)
