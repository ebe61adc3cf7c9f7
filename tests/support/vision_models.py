"""Captions from frames for tests: a tiny random vision-language model, and users' functions."""

from __future__ import annotations

from pathlib import Path

SPECIAL = ["<pad>", "<unk>", "<eos>", "<image>", "<user>"]
WORDS = [*SPECIAL, "a", "red", "fox", "runs"]
TEMPLATE = (
    "{% for m in messages %}<user> {% for c in m.content %}"
    "{% if c.type == 'image' %}<image> {% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endfor %}"
)
SIDE = 8  # pixels of an image


def save_vision_model(folder: Path) -> Path:
    """Write a random LLaVA with its processor; always the same weights."""
    # Not above: worker processes import this file for the functions below.
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        model_input_names=["input_ids", "attention_mask"],  # as those of real chat models
        tokenizer_object=words,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<eos>",
        additional_special_tokens=SPECIAL[3:],
    )
    size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    LlavaProcessor(
        CLIPImageProcessor(**size),
        tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**tower, num_hidden_layers=1, image_size=SIDE, patch_size=4)
    text = LlamaConfig(
        **tower,
        num_hidden_layers=1,
        vocab_size=len(WORDS),
        eos_token_id=WORDS.index("<eos>"),
        pad_token_id=0,
        bos_token_id=None,
    )
    image = WORDS.index("<image>")
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image,
        image_token_id=image,
        vision_feature_layer=-1,
        image_seq_length=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlavaForConditionalGeneration(config).save_pretrained(folder)
    return folder


def seen(frames):
    """Name the brightest color."""
    color = ("red", "green", "blue")[int(frames.mean(axis=(0, 1, 2)).argmax())]
    return {"short": f"a {color} ball", "long": f"a large {color} ball rolls over grass"}


def trouble(frames):
    """Fail for red, guess for green, and answer with a number for blue."""
    color = int(frames.mean(axis=(0, 1, 2)).argmax())
    if color == 0:
        raise MemoryError("out of memory")
    return "this might be a ball" if color == 1 else 42
