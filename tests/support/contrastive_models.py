"""Tiny models of agreement: a random CLIP in transformers' format, and functions of a user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = ("[PAD]", "[UNK]", "[EOS]", "a", "red", "blue", "fox", "bird", "runs")
SIDE = 8  # pixels of an image


def save_clip(folder: Path, dim: int = 6) -> Path:
    """Write a random CLIP with its tokenizer and image processor; always the same weights."""
    # Not above: worker processes import this file for the functions below.
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast
    from transformers import CLIPImageProcessor as ImageProcessor

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]"
    )
    tokenizer.save_pretrained(folder)
    size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    ImageProcessor(**size).save_pretrained(folder)
    tower = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "projection_dim": dim,
    }
    text = {"vocab_size": len(WORDS), "max_position_embeddings": 12, "eos_token_id": 2}
    vision = {"image_size": SIDE, "patch_size": 4}
    config = CLIPConfig(text_config=tower | text, vision_config=tower | vision, projection_dim=dim)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    return folder


class ByColor:
    """The mean color of a video, and the colors that a text names."""

    def embed_video(self, frames):
        return frames.mean(axis=(0, 1, 2))

    def embed_text(self, text):
        return [float(color in text) for color in ("red", "green", "blue")]


class Moody(ByColor):
    """Fails for some, in several ways."""

    def embed_video(self, frames):
        red, green, blue = frames.mean(axis=(0, 1, 2))
        if red > max(green, blue):
            raise MemoryError("out of memory")
        return [np.nan] * 3 if green > max(red, blue) else [1.0] * 5


def no_model():
    return "not a model"
