"""Prompts over time: their notation, the weight of each text in each frame, and refusals."""

from __future__ import annotations

import pytest
import torch

from hummingbird_core.errors import InputError
from hummingbird_core.inputs.prompt_parts import (
    PromptPart,
    fitting_parts,
    is_schedule,
    join_prompt,
    split_prompt,
)
from hummingbird_core.sampling.prompt_schedule import distinct_texts, part_weights, prompt_texts

STORY = "0: a fox runs; 24: a fox sleeps"


@pytest.mark.parametrize("prompt", ["a fox", "24: a fox", "1s: a fox", "at 0: a fox", "00: a", ""])
def test_a_text_that_does_not_begin_at_0_is_an_ordinary_prompt(prompt):
    assert not is_schedule(prompt)
    assert split_prompt(prompt) == [PromptPart("0", prompt)]


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        (STORY, [("0", "a fox runs"), ("24", "a fox sleeps")]),
        (" 0s :a fox;2.5s:a, b", [("0s", "a fox"), ("2.5s", "a, b")]),
        ("0: a fox\n in snow\n24: a fox", [("0", "a fox in snow"), ("24", "a fox")]),
        ("0: in 16:9; 8: b", [("0", "in 16:9"), ("8", "b")]),
    ],
)
def test_parts_are_separated_by_semicolons_or_lines(prompt, parts):
    assert split_prompt(prompt) == [PromptPart(*part) for part in parts]
    assert split_prompt(join_prompt(split_prompt(prompt))) == split_prompt(prompt)


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("0: a fox; 30: b; 24: c", "24: behind 30:"),
        ("0: a fox; 0s: b", "0s: behind 0:"),
        ("0: a fox; 48: b", "48: .* 48 frames"),
        ("0: a fox; 6s: b", "6s: .*6 s"),
        ("0: a fox; 24:", "no text at 24"),
        ("0:; 24: b", "no text at 0"),
        ("0: a fox;; 24: b", "empty part"),
        ("0: a fox; 24: b;", "empty part"),
        ("0: a fox; running; 24: b", "'running' without a time"),
        ("0: a fox; 2.5: b", "frame 2.5"),
        ("0: a fox, 24: b", "24: within a part"),
        ("0: a fox 24: b", "24: within a part"),
        ("0: a fox; -3: b", "'-3: b' without a time"),
    ],
)
def test_a_wrong_prompt_over_time_is_refused_with_the_part(prompt, names):
    with pytest.raises(InputError, match=f"(?s)got .*{names}.*expected"):
        fitting_parts(prompt, 48, 8)


def test_texts_change_within_two_frames_around_a_border():
    weights = part_weights([0, 8], 16)
    new = [0] * 6 + [0.125, 0.375, 0.625, 0.875] + [1] * 6
    assert weights[:, 1].tolist() == new
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(16))


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("starts", [[0], [0, 1, 2], [0, 2.5, 9.75], [0, 11]])
def test_the_weights_of_a_frame_sum_to_one(starts, loop):
    weights = part_weights(starts, 12, loop=loop)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(12))


def test_the_last_text_of_a_loop_blends_into_the_first():
    weights = part_weights([0, 6], 12, loop=True)
    torch.testing.assert_close(weights, weights.flip(1).roll(6, dims=0))
    assert weights[0].tolist() == [0.625, 0.375]


def test_seconds_follow_the_frame_rate():
    _, by_time = prompt_texts(["0s: a; 2.5s: b"], 48, 8)
    _, by_frame = prompt_texts(["0: a; 20: b"], 48, 8)
    assert torch.equal(by_time, by_frame)


def test_a_text_that_comes_back_is_one_text():
    texts, weights = prompt_texts(["0: a; 8: b; 16: a"], 24, 8)
    assert texts == [["a", "b"]]
    assert weights[0, [0, 12, 23]].tolist() == [[1, 0], [0, 1], [1, 0]]


def test_videos_of_a_batch_have_their_own_texts():
    texts, weights = prompt_texts(["0: a; 8: b; 12: c", "plain", "0: a"], 16, 8)
    assert texts == [["a", "b", "c"], ["plain"] * 3, ["a"] * 3]
    assert weights.shape == (3, 16, 3)
    assert weights[1].tolist() == [[1, 0, 0]] * 16


def test_prompts_of_one_text_need_no_weights():
    assert prompt_texts(["0: a fox", "a cat"], 16, 8) == ([["a fox"], ["a cat"]], None)


def test_runs_of_equal_texts_are_found_and_given_back():
    texts = torch.randn(2, 3, 5, 4)
    context = texts[:, [0, 0, 1, 1, 1, 2]]
    distinct, weights = distinct_texts(context)
    assert torch.equal(distinct, texts)
    assert torch.equal(torch.einsum("btk,bklc->btlc", weights, distinct), context)
