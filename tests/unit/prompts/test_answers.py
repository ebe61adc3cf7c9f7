"""The subject of a prompt, which a rewritten one has to keep."""

from __future__ import annotations

import pytest

from hummingbird_core.prompts.subject import lost_words, subject_words


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a fox in the snow", ["fox"]),
        ("a video of two old dogs playing in the park", ["two", "old", "dogs"]),
        ("Close-up of a hummingbird", ["hummingbird"]),
        ("an aerial view of Paris at night", ["paris"]),
        ("slow motion shot of an old man", ["old", "man"]),
        ("a cat and a dog", ["cat", "dog"]),
        ("a glass of red wine, candlelight", ["glass", "red", "wine"]),
        ("a red circle moves right", ["red", "circle", "moves", "right"]),
        ("sleeping kitten", ["sleeping", "kitten"]),
        ("the king's crown", ["king's", "crown"]),
        ("...", []),
    ],
)
def test_the_subject_is_the_opening_noun_phrase(prompt, words):
    assert subject_words(prompt) == words


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("At night, a red fox runs through snow", ["red", "fox"]),
        ("In the middle of a forest, an old deer drinks", ["old", "deer"]),
        ("Cinematic, 4k, a knight on a horse", ["knight"]),
        ("Cyberpunk, neon, a samurai walks in the rain", ["samurai"]),
        ("Shot on 35mm film: a couple dances", ["couple"]),
        ("Studio Ghibli style, a girl on a bicycle", ["girl"]),
        ("Anime style. Close-up of a cat by the window", ["cat"]),
        ("Slow motion, close-up of a hummingbird", ["hummingbird"]),
        ("The camera pans slowly, a lion lies in the grass", ["lion"]),
        ("Slowly, a turtle crosses the beach", ["turtle"]),
        ("Running through the snow, a fox looks back", ["fox"]),
        ("Covered in mud, two dogs play", ["two", "dogs"]),
        ("Early morning, a fisherman on the lake", ["fisherman"]),
        ("Golden hour, a couple walks along the beach", ["couple"]),
        ("It is night. A red fox runs", ["red", "fox"]),
        ("There is a fox in the snow", ["fox"]),
        ("A small, red fox in the snow", ["small", "red", "fox"]),
        ("Red, blue and green balloons in the sky", ["red", "blue", "green", "balloons"]),
        ("Black and white, high quality - a violinist plays", ["violinist"]),
        ("4k cinematic film", ["cinematic", "film"]),
    ],
)
def test_a_subject_that_does_not_come_first_is_among_the_words(prompt, subject):
    assert lost_words(subject, " ".join(subject_words(prompt))) == []


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("Cinematic, 4k, a knight on a horse, rain", ["knight"]),
        ("fox, 4k, cinematic", ["fox"]),
        ("a red fox runs, autumn leaves, soft light", ["red", "fox", "runs"]),
        ("a knight in anime style, rain", ["knight"]),
        ("a drone over a field, soft light", ["drone"]),
        ("a blue light over the sea, soft focus", ["blue", "light"]),
    ],
)
def test_the_look_and_what_comes_after_are_not_the_subject(prompt, words):
    assert subject_words(prompt) == words


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("dogs", "a dog"),
        ("fox", "two foxes"),
        ("runs", "a man running"),
        ("dances", "dancing"),
        ("city", "cities at night"),
        ("king's", "the king"),
        ("PARIS".lower(), "Paris!"),
    ],
)
def test_a_word_may_change_its_form(word, text):
    assert lost_words([word], text) == []


@pytest.mark.parametrize(
    ("word", "text"), [("cat", "a caterpillar"), ("car", "a card"), ("fox", "a wolf"), ("red", "")]
)
def test_another_word_is_not_the_same(word, text):
    assert lost_words([word], text) == [word]
