"""Tokenizers and the text encoder, on a tiny tower with random weights."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace

import pytest
import torch
from support.models import det

from hummingbird_core.errors import CheckpointError, InputError
from hummingbird_core.text.encoder import (
    TextConfig,
    TextEncoder,
    load_text_encoder,
    text_encoder_to_openclip,
)
from hummingbird_core.text.tokenizer import ClipTokenizer, WordTokenizer

WORDS = ["a circle moves right", "red", "blue"]
START, END, UNKNOWN = WordTokenizer.start_id, WordTokenizer.end_id, WordTokenizer.unknown_id


@pytest.fixture(scope="module")
def clip_tokenizer() -> ClipTokenizer:
    return ClipTokenizer()


@pytest.fixture
def words() -> WordTokenizer:
    return WordTokenizer.from_words(WORDS)


@pytest.fixture
def config(words) -> TextConfig:
    return TextConfig(
        width=32, layers=3, heads=4, vocab_size=words.vocab_size, mlp_width=64, skip_last=0
    )


@pytest.fixture
def weights(config, words) -> dict[str, torch.Tensor]:
    """OpenCLIP weights of all three blocks."""
    with torch.device("meta"):
        shapes = text_encoder_to_openclip(TextEncoder(config, words))
    return {key: det(key, value.shape) for key, value in shapes.items()}


# --- CLIP's tokenizer (its ids are compared with OpenCLIP in the golden tests)


def test_clip_lays_out_start_tokens_end_and_zeros(clip_tokenizer):
    ids = clip_tokenizer(["a corgi", ""])
    assert ids.shape == (2, 77)
    assert ids.dtype == torch.int64
    assert ids[1].tolist() == [49406, 49407] + [0] * 75
    assert ids[0, 3] == 49407


def test_clip_cleans_text_before_it_splits(clip_tokenizer):
    clean, messy = clip_tokenizer(["dances & sings", " Dances\n &amp;amp;  SINGS "])
    assert torch.equal(clean, messy)


@pytest.mark.parametrize(("count", "dropped"), [(75, ""), (76, "dog"), (78, "dog dog dog")])
def test_clip_reports_what_does_not_fit(clip_tokenizer, count, dropped):
    prompt = clip_tokenizer.tokenize(" ".join(["dog"] * count))
    assert (prompt.count, prompt.dropped) == (count, dropped)
    assert len(prompt.ids) == 77
    assert prompt.ids[-1] == clip_tokenizer.end_id


def test_a_prompt_must_be_text(clip_tokenizer):
    with pytest.raises(InputError, match="type int"):
        clip_tokenizer.tokenize(3)


# --- the word tokenizer


def test_words_keep_their_ids_through_json(words):
    again = WordTokenizer.from_json(words.to_json())
    prompts = ["A red circle, moves RIGHT!", "blue"]
    assert torch.equal(again(prompts), words(prompts))
    assert again.vocab_size == words.vocab_size == 4 + 6


def test_word_ids_do_not_depend_on_the_order_of_the_texts(words):
    assert WordTokenizer.from_words(WORDS[::-1]).words == words.words


def test_punctuation_and_case_do_not_count(words):
    assert torch.equal(words(["a red-circle."]), words(["A RED circle"]))


def test_an_is_a_where_only_that_is_known(words):
    prompt = words.tokenize("an orange circle")
    assert prompt.unknown == ["orange"]
    assert prompt.ids[1] == words.tokenize("a circle").ids[1]
    both = WordTokenizer(["a", "an"])
    assert both.tokenize("an").ids != both.tokenize("a").ids


def test_unknown_words_are_told_and_share_an_id(words):
    prompt = words.tokenize("a shiny circle moves up")
    assert prompt.unknown == ["shiny", "up"]
    assert prompt.ids[2] == prompt.ids[5] == UNKNOWN
    assert prompt.ids[0] == START
    assert prompt.ids[6:] == [END] + [0] * 70


def test_a_prompt_without_a_known_subject_gets_a_line_that_says_what_is_known():
    tokenizer = WordTokenizer.from_words(["a red fox flies", "a cat"], subjects=["fox", "cat"])
    again = WordTokenizer.from_json(tokenizer.to_json())
    assert again.subjects == ["fox", "cat"]
    hint = again.tokenize("two dogs playing chess").hint
    assert "shows only fox, cat" in hint
    assert "hummingbird download" in hint
    assert "\n" not in hint
    for served in ("a red FOX flies", "cat", ""):
        assert again.tokenize(served).hint == ""
    assert WordTokenizer.from_words(["a fox"]).tokenize("dogs").hint == ""
    with pytest.raises(InputError, match="subjects"):
        WordTokenizer(["fox"], subjects=["dog"])


def test_word_tokenizer_reports_what_does_not_fit(words):
    prompt = words.tokenize("red " * 75 + "blue circle")
    assert (prompt.count, prompt.dropped) == (77, "blue circle")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"words": 3}', '{"words": [1]}'])
def test_refuses_damaged_word_lists(text):
    with pytest.raises(CheckpointError, match="tokenizer data"):
        WordTokenizer.from_json(text)


def test_refuses_words_that_it_could_never_find():
    with pytest.raises(InputError, match="malformed"):
        WordTokenizer(["fine", "two words"])


# --- the encoder


def test_saves_the_weights_it_was_loaded_from(weights, words):
    encoder = load_text_encoder(weights, num_heads=4, tokenizer=words, layers_to_skip=0)
    saved = text_encoder_to_openclip(encoder)
    assert saved.keys() == weights.keys()
    assert all(torch.equal(saved[key], value) for key, value in weights.items())


def test_a_trained_encoder_loads_again_as_the_same_function(config, words):
    torch.manual_seed(0)
    trained = TextEncoder(config, words).eval()
    loaded = load_text_encoder(
        text_encoder_to_openclip(trained), num_heads=4, tokenizer=words.to_json(), layers_to_skip=0
    )
    assert loaded.config == config
    prompt = "a red circle"
    assert torch.equal(loaded.encode(prompt).embeddings, trained.encode(prompt).embeddings)


def test_skipping_a_block_equals_a_tower_without_it(weights, words):
    shorter = {key: value for key, value in weights.items() if ".resblocks.2." not in key}
    skipped = load_text_encoder(weights, num_heads=4, tokenizer=words)
    without = load_text_encoder(shorter, num_heads=4, tokenizer=words, layers_to_skip=0)
    full = load_text_encoder(weights, num_heads=4, tokenizer=words, layers_to_skip=0)
    ids = words(["a red circle"])
    assert torch.equal(skipped.encode_tokens(ids), without.encode_tokens(ids))
    assert not torch.allclose(skipped.encode_tokens(ids), full.encode_tokens(ids))
    count = sum(parameter.numel() for parameter in skipped.parameters())
    assert count == sum(value.numel() for value in shorter.values())


def test_only_the_past_is_seen_and_padding_is_not_masked(weights, words):
    encoder = load_text_encoder(weights, num_heads=4, tokenizer=words)
    ids = words(["a red circle"])
    changed = ids.clone()
    changed[0, 10] = UNKNOWN
    before, after = encoder.encode_tokens(ids), encoder.encode_tokens(changed)
    assert torch.equal(before[:, :10], after[:, :10])
    assert all(not torch.allclose(before[:, n], after[:, n]) for n in range(10, 77))


def test_reports_counts_cuts_and_unknown_words(weights, words, caplog):
    encoder = load_text_encoder(weights, num_heads=4, tokenizer=words)
    with caplog.at_level(logging.WARNING, logger="hummingbird_core.text.tokenizer"):
        encoding = encoder.encode(["a green circle", "red " * 75 + "blue"])
    assert encoding.embeddings.shape == (2, 77, 32)
    assert encoding.token_counts == [3, 76]
    assert encoding.dropped == ["", "blue"]
    assert encoding.unknown == [["green"], []]
    assert "green" in caplog.text
    assert "76 tokens, 75 fit" in caplog.text


def test_leaves_out_the_vision_tower_and_the_projection(weights, words):
    extra = {
        **weights,
        "visual.proj": torch.zeros(1),
        "attn_mask": torch.zeros(77, 77),
        "logit_scale": torch.zeros(()),
        "text_projection": torch.zeros(32, 32),
    }
    encoder = load_text_encoder(extra, num_heads=4, tokenizer=words, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.bfloat16}
    assert encoder.encode("red").embeddings.dtype == torch.bfloat16


def test_the_encoder_can_be_trained_and_moved(weights, words):
    encoder = load_text_encoder(weights, num_heads=4, tokenizer=words, layers_to_skip=0)
    encoder.to(torch.bfloat16)
    encoder.encode("red").embeddings.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_everything_lives_where_the_weights_do(weights, words):
    elsewhere = {key: value.to("meta") for key, value in weights.items()}
    encoder = load_text_encoder(elsewhere, num_heads=4, tokenizer=words)
    assert {buffer.device.type for buffer in encoder.buffers()} == {"meta"}
    assert encoder.encode("red").embeddings.device.type == "meta"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ln_final.bias": None}, r"1 missing \(ln_final.bias\)"),
        ({"transformer.extra": torch.zeros(1)}, r"1 unexpected \(transformer.extra\)"),
        ({"ln_final.bias": torch.zeros(3)}, r"ln_final.bias \(3,\) instead of \(32,\)"),
        ({"positional_embedding": None}, "without 'positional_embedding'"),
    ],
)
def test_names_the_keys_that_do_not_fit(weights, words, change, message):
    changed = {key: value for key, value in {**weights, **change}.items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        load_text_encoder(changed, num_heads=4, tokenizer=words)


@pytest.mark.parametrize("change", [{"heads": 5}, {"skip_last": 3}, {"skip_last": -1}])
def test_refuses_impossible_sizes(config, words, change):
    with pytest.raises(InputError):
        TextEncoder(replace(config, **change), words)


def test_refuses_the_tokenizer_of_another_model(weights, clip_tokenizer):
    with pytest.raises(InputError, match="49408 tokens for a text encoder of 10"):
        load_text_encoder(weights, num_heads=4, tokenizer=clip_tokenizer)


def test_refuses_token_ids_of_another_length(weights, words):
    encoder = load_text_encoder(weights, num_heads=4, tokenizer=words)
    with pytest.raises(InputError, match=r"expected \[batch, 77\]"):
        encoder.encode_tokens(torch.zeros(1, 76, dtype=torch.int64))


def test_config_survives_as_a_plain_dict(config):
    assert TextConfig(**asdict(config)) == config
