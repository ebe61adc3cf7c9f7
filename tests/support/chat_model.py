"""A tiny random chat model in Hugging Face's format, made on the spot: it talks nonsense."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = "a the red old fox dog snow forest runs slowly light camera cinematic , .".split()  # noqa: SIM905
SPECIAL = ["<pad>", "<unk>", "<eos>", "<system>", "<user>", "<assistant>"]
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
WITHOUT_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + TEMPLATE
)


def save_chat_model(folder: Path, template: str | None = TEMPLATE) -> Path:
    """Writes the model and its tokenizer; always the same weights."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        model_input_names=["input_ids", "attention_mask"],  # as those of real chat models
        tokenizer_object=words,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<eos>",
        additional_special_tokens=SPECIAL[3:],
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        eos_token_id=vocabulary["<eos>"],
        bos_token_id=None,
        pad_token_id=vocabulary["<pad>"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    # It never ends an answer: a random one would end at once with some versions of torch.
    model.generation_config.suppress_tokens = [vocabulary["<eos>"]]
    model.save_pretrained(folder)
    return folder
