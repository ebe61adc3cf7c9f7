"""Trains the text encoder of the nano family before any U-Net: it must tell what a caption says.

Trained along with the U-Net, the tower collapsed within 200 steps: all captions came out alike,
before the U-Net had learned to look. Random and frozen, it keeps words apart, but the telling words
drown in the others: the U-Net learned colours in 400 steps, and directions never. Asked what a
caption says of colour, subject, direction and place, it gives their many wordings clear vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...nano.world import world
from ...nano.world.backgrounds import BACKGROUNDS
from ...nano.world.images import IMAGES
from ...nano.world.motion import DIRECTIONS
from ...nano.world.shapes import COLORS, SHAPES
from ...text.encoder import TextConfig, TextEncoder
from ...text.tokenizer import PADDING_ID, WordTokenizer
from ..loop.config import TrainConfig
from ..loop.micro_batch import MicroBatch
from ..loop.trainer import train

WORD_STD = 0.5
UNSAID = ""
ATTRIBUTES = {
    "colour": [UNSAID, *COLORS],
    "shape": [UNSAID, *SHAPES],
    "picture": [UNSAID, *IMAGES],
    "direction": [*DIRECTIONS],
    "place": [UNSAID, *BACKGROUNDS],
    # Follows from picture and direction, but a product of two is hard to find for a small U-Net.
    "looks": [UNSAID, "left", "right"],
}


class CaptionReader(nn.Module):
    """Tells what a caption says from the mean of its 77 vectors."""

    def __init__(self, text_encoder: TextEncoder):
        super().__init__()
        self.text_encoder = text_encoder
        width = text_encoder.config.width
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, len(values)) for name, values in ATTRIBUTES.items()}
        )

    def forward(self, captions: list[str]) -> dict[str, Tensor]:
        """Logits `[B, values]` of each attribute."""
        text = self.text_encoder.encode(captions).embeddings.mean(dim=1)
        return {name: head(text) for name, head in self.heads.items()}


def train_text_encoder(settings: TrainConfig, folder: Path) -> TextEncoder:
    """A CLIP text tower of two small blocks that tells captions apart by what they mean."""
    model = CaptionReader(build_text_encoder())

    def loss(micro_batch: MicroBatch) -> dict[str, Tensor]:
        drawn = [next(world.samples(seed)) for seed in micro_batch.clip_seeds]
        scenes, captions = zip(*drawn, strict=True)
        return {
            name: F.cross_entropy(logits, _labels(scenes, name).to(logits.device))
            for name, logits in model(list(captions)).items()
        }

    return train("text", model, loss, settings, folder).text_encoder


def _labels(scenes: Sequence[world.Scene], attribute: str) -> Tensor:
    return torch.tensor(
        [ATTRIBUTES[attribute].index(scene.attributes.get(attribute, UNSAID)) for scene in scenes]
    )


def build_text_encoder() -> TextEncoder:
    """An untrained tower that knows the words of the captions."""
    tokenizer = WordTokenizer.from_words(world.vocabulary())
    config = TextConfig(
        width=64, layers=2, heads=4, vocab_size=tokenizer.vocab_size, mlp_width=256, skip_last=0
    )
    encoder = TextEncoder(config, tokenizer)
    words, positions = (encoder.get_parameter(name) for name in _embedding_names(encoder))
    nn.init.normal_(words, std=WORD_STD)
    # Without a vector and a place of its own, padding starts as the mean of all words: most of the
    # 77 tokens then tell the whole caption, and attention finds it before it has learned to look.
    nn.init.zeros_(words[PADDING_ID])
    nn.init.zeros_(positions)
    return encoder


def _embedding_names(encoder: TextEncoder) -> list[str]:
    endings = ("token_embedding.weight", "position_embedding.weight")
    names = [name for name, _ in encoder.named_parameters()]
    return [name for ending in endings for name in names if name.endswith(ending)]
