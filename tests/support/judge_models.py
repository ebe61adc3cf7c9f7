"""Tiny random models that judge clips."""

from __future__ import annotations

from pathlib import Path

import torch
from support.contrastive_models import WORDS
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessor,
    OwlViTProcessor,
    PreTrainedTokenizerFast,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    ViTConfig,
    ViTForImageClassification,
)

SIDE = 16  # pixels of an image
TOWER = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def save_classifier(folder: Path, labels: tuple[str, ...] = ("normal", "nsfw")) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ViTConfig(**TOWER, image_size=SIDE, patch_size=8, id2label=dict(enumerate(labels)))
        ViTForImageClassification(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    CLIPImageProcessor(**size).save_pretrained(folder)
    return folder


def save_quality_network(folder: Path, outputs: int = 1) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = VideoMAEConfig(
            **TOWER, image_size=SIDE, patch_size=8, num_frames=4, num_labels=outputs
        )
        VideoMAEForVideoClassification(config).save_pretrained(folder)
    return folder


def save_detector(folder: Path) -> Path:
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    processor = OwlViTImageProcessor(size={"height": SIDE, "width": SIDE}, do_center_crop=False)
    OwlViTProcessor(processor, tokenizer).save_pretrained(folder)
    text = {"vocab_size": len(WORDS), "max_position_embeddings": 16}
    vision = {"image_size": SIDE, "patch_size": 8}
    config = OwlViTConfig(text_config=TOWER | text, vision_config=TOWER | vision, projection_dim=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        OwlViTForObjectDetection(config).save_pretrained(folder)
    return folder
