"""Training of the nano family's text encoder by caption classification, before any U-Net.

Trained jointly with the U-Net, the encoder collapsed within 200 steps: all captions had the same
embedding before the U-Net attended to it. Random and frozen, it separates words, but the relevant
ones are lost among the others: the U-Net learned colors in 400 steps and directions never. Trained
to classify color, subject, direction and place of a caption, it gives the many wordings of each
attribute distinct vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...nano.world import world
from ...nano.world.backgrounds import BACKGROUNDS
from ...nano.world.looks import COLORS, PICTURES, SHAPES
from ...nano.world.motion import DIRECTIONS
from ...text.encoder import TextConfig, TextEncoder
from ...text.tokenizer import PADDING_ID, WordTokenizer
from ..loop.config import TrainConfig
from ..loop.micro_batch import MicroBatch
from ..loop.trainer import train

WORD_STD = 0.5
UNSTATED = ""
ATTRIBUTES = {
    "colour": [UNSTATED, *COLORS],
    "shape": [UNSTATED, *SHAPES],
    "picture": [UNSTATED, *PICTURES],
    "direction": [*DIRECTIONS],
    "place": [UNSTATED, *BACKGROUNDS],
    # Follows from picture and direction, but a small U-Net hardly learns a product of two.
    "looks": [UNSTATED, "left", "right"],
}


class CaptionReader(nn.Module):
    """Classifier of a caption's attributes from the mean of its 77 embeddings."""

    def __init__(self, text_encoder: TextEncoder):
        super().__init__()
        self.text_encoder = text_encoder
        width = text_encoder.config.width
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, len(values)) for name, values in ATTRIBUTES.items()}
        )

    def forward(self, captions: list[str]) -> dict[str, Tensor]:
        """Return logits `[B, values]` of each attribute."""
        text = self.text_encoder.encode(captions).embeddings.mean(dim=1)
        return {name: head(text) for name, head in self.heads.items()}


def train_text_encoder(settings: TrainConfig, folder: Path) -> TextEncoder:
    """Train a CLIP text encoder of two small blocks to separate captions by meaning."""
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
        [ATTRIBUTES[attribute].index(scene.attributes.get(attribute, UNSTATED)) for scene in scenes]
    )


def build_text_encoder() -> TextEncoder:
    """Build an untrained encoder with the vocabulary of the captions."""
    tokenizer = WordTokenizer.from_words(world.vocabulary())
    config = TextConfig(
        width=64, layers=2, heads=4, vocab_size=tokenizer.vocab_size, mlp_width=256, skip_last=0
    )
    encoder = TextEncoder(config, tokenizer)
    words, positions = (encoder.get_parameter(name) for name in _embedding_names(encoder))
    nn.init.normal_(words, std=WORD_STD)
    # With zero token and position embeddings, padding starts as the mean of all words: most of the
    # 77 tokens then carry the whole caption, so even untrained attention receives it.
    nn.init.zeros_(words[PADDING_ID])
    nn.init.zeros_(positions)
    return encoder


def _embedding_names(encoder: TextEncoder) -> list[str]:
    endings = ("token_embedding.weight", "position_embedding.weight")
    names = [name for name, _ in encoder.named_parameters()]
    return [name for ending in endings for name in names if name.endswith(ending)]
