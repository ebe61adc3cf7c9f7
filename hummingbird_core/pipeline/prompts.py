"""Prompts of a call as embeddings: one text for a video, or several over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from torch import Tensor

from ..sampling.prompt_schedule import mix_texts, prompt_texts
from ..text.encoder import TextEncoder, TextEncoding


@dataclass(frozen=True)
class EncodedPrompts:
    """Prompts of a batch, encoded.

    Attributes:
        embeddings: `[B, 77, C]`, or those of K texts a video, `[B, K, 77, C]`.
        weights: of the K texts in each frame, `[B, T, K]`; None if every video has one text.
        report: token counts, and the text that was cut off or unknown, by video.
    """

    embeddings: Tensor
    weights: Tensor | None
    report: TextEncoding

    def per_frame(self) -> Tensor:
        """Return `[B, 77, C]`, or with several texts the embedding of each frame."""
        if self.weights is None:
            return self.embeddings
        return mix_texts(self.embeddings, self.weights)


def encode_prompts(
    encoder: TextEncoder,
    prompts: Sequence[str],
    num_frames: int,
    fps: float,
    *,
    loop: bool = False,
    warn: bool = True,
) -> EncodedPrompts:
    """Encode prompts, each distinct text of a video once.

    Args:
        encoder: of the model.
        prompts: one a video, perhaps with parts over time (see `sampling.prompt_schedule`).
        num_frames: of the videos.
        fps: frames per second.
        loop: whether the last part of a prompt blends into its first.
        warn: whether to report text that has no effect.

    Raises:
        InputError: a prompt over time is malformed or does not fit the videos.
    """
    texts, weights = prompt_texts(prompts, num_frames, fps, loop=loop)
    encoding = encoder.encode([text for of_video in texts for text in of_video], warn=warn)
    if weights is None:
        return EncodedPrompts(encoding.embeddings, None, encoding)
    # [B*K, 77, C] -> [B, K, 77, C]
    embeddings = encoding.embeddings.unflatten(0, weights.shape[::2])
    return EncodedPrompts(embeddings, weights, _by_video(encoding, embeddings))


def _by_video(encoding: TextEncoding, embeddings: Tensor) -> TextEncoding:
    """Return the report with one entry a video: the longest text, and all that has no effect."""
    videos, texts = embeddings.shape[:2]
    groups = [slice(i * texts, (i + 1) * texts) for i in range(videos)]
    return TextEncoding(
        embeddings,
        [max(encoding.token_counts[group]) for group in groups],
        ["; ".join(dict.fromkeys(filter(None, encoding.dropped[group]))) for group in groups],
        [list(dict.fromkeys(chain(*encoding.unknown[group]))) for group in groups],
    )
