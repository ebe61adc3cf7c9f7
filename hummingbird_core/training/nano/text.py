"""Training of the nano family's text encoder by reading captions, before any U-Net.

Trained jointly with the U-Net, the encoder collapsed within 200 steps: all captions had the same
embedding before the U-Net attended to it. Random and frozen, it separates words, but the relevant
ones are lost among the others: the U-Net learned colors in 400 steps and directions never.

So it is trained to state all that a caption says: for each subject what it is, its color, size,
motion and pace, and the place, the tone and the camera. What is not among these the encoder throws
away, and no later stage gets it back (docs/notes/where-diversity-is-lost.md). Two wordings of the
same statements are pulled together: words that mean nothing change nothing.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...nano.world.captions import OF_SCENES, OF_SUBJECTS, Said, vocabulary, write
from ...nano.world.looks import PICTURES, SUBJECTS, look_in_motion
from ...nano.world.stream import samples
from ...text.encoder import TextConfig, TextEncoder
from ...text.tokenizer import PADDING_ID, WordTokenizer
from ..loop.config import TrainConfig
from ..loop.micro_batch import MicroBatch
from ..loop.trainer import train

WORD_STD = 0.5
CONTEXT_DIM = 96
UNSTATED = ""
MOST_SUBJECTS = 2
PARAPHRASE_WEIGHT = 1.0
# The side that a picture faces follows from it and the direction, but a small U-Net hardly learns a
# product of two.
OF_A_SUBJECT: dict[str, Collection[str]] = {**OF_SUBJECTS, "faces": ("left", "right")}
STATEMENTS = {
    **{
        f"{name}_{index}": (UNSTATED, *values)
        for index in range(MOST_SUBJECTS)
        for name, values in OF_A_SUBJECT.items()
    },
    **{name: (UNSTATED, *values) for name, values in OF_SCENES.items()},
}


class CaptionReader(nn.Module):
    """Classifier of a caption's statements from the mean of its 77 embeddings."""

    def __init__(self, text_encoder: TextEncoder):
        super().__init__()
        self.text_encoder = text_encoder
        width = text_encoder.config.width
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, len(values)) for name, values in STATEMENTS.items()}
        )

    def embed(self, captions: list[str]) -> Tensor:
        """Return the mean embeddings `[B, C]` of captions."""
        return self.text_encoder.encode(captions).embeddings.mean(dim=1)

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        """Return logits `[B, values]` of each statement, of mean embeddings `[B, C]`."""
        return {name: head(embedding) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, captions: list[str]) -> list[dict[str, str]]:
        """Return the likeliest value of each statement of each caption; "" is unstated."""
        logits = self(self.embed(captions))
        chosen = {name: values.argmax(dim=1).tolist() for name, values in logits.items()}
        return [
            {name: STATEMENTS[name][indices[i]] for name, indices in chosen.items()}
            for i in range(len(captions))
        ]


def train_text_encoder(settings: TrainConfig, folder: Path) -> TextEncoder:
    """Train a CLIP text encoder of two small blocks to keep all that captions say."""
    model = CaptionReader(build_text_encoder())

    def loss(micro_batch: MicroBatch) -> dict[str, Tensor]:
        said, captions, paraphrases = zip(*map(_draw, micro_batch.clip_seeds), strict=True)
        both = model.embed([*captions, *paraphrases])  # [2B, C]
        first, second = both.chunk(2)
        losses = {
            name: F.cross_entropy(logits, _labels(said, name).to(logits.device).repeat(2))
            for name, logits in model(both).items()
        }
        return {**losses, "paraphrase": PARAPHRASE_WEIGHT * F.mse_loss(first, second)}

    return train("text", model, loss, settings, folder).text_encoder


def _draw(seed: int) -> tuple[Said, str, str]:
    """Draw what a caption says, the caption, and other words for the same."""
    _, said, caption = next(samples(seed))
    return said, caption, write(said, random.Random(seed))


def statements(said: Said) -> dict[str, str]:
    """Return the value of each of `STATEMENTS`; "" where it is unstated."""
    values = {f"{kind}_{index}": value for kind, index, value in said.attributes()}
    values |= {name: getattr(said, name) for name in OF_SCENES if getattr(said, name)}
    for index, mention in enumerate(said.mentions):
        if (faces := PICTURES.get(mention.subject)) and mention.motion:
            is_mirrored = look_in_motion(mention.subject, None, mention.motion).mirrored
            other = {"left": "right", "right": "left"}[faces]
            values[f"faces_{index}"] = other if is_mirrored else faces
    return {name: values.get(name, UNSTATED) for name in STATEMENTS}


def _labels(said: Sequence[Said], name: str) -> Tensor:
    return torch.tensor([STATEMENTS[name].index(statements(one)[name]) for one in said])


def build_text_encoder() -> TextEncoder:
    """Build an untrained encoder with the vocabulary of the captions."""
    tokenizer = WordTokenizer.from_words(vocabulary(), subjects=SUBJECTS)
    config = TextConfig(
        width=CONTEXT_DIM,
        layers=2,
        heads=4,
        vocab_size=tokenizer.vocab_size,
        mlp_width=4 * CONTEXT_DIM,
        skip_last=0,
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
