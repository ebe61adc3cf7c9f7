"""Agreement of a video and a caption of the built-in world: a small CLIP for videos.

Two towers, one for text and one for eight frames, whose outputs are close where both agree (CLIP,
arXiv 2103.00020; X-CLIP, arXiv 2208.02816). It is learned from pairs alone, as HPS and InternVideo2
are, so it is the built-in model's counterpart of the paper's rewards, and ranks its seeds. It never
judges results: the readers do, which are not learned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import CheckpointError
from ..files import atomic_write, check_destination
from ..text.encoder import TextConfig, TextEncoder
from ..text.tokenizer import WordTokenizer
from ..weights.state_dict import validate_state_dict
from ..weights.tensor_files import open_tensors
from .world.captions import vocabulary
from .world.paths import FRAME_SIZE

CONFIG_KEY = "hummingbird.agreement"
WORDS_KEY = "hummingbird.agreement_words"
STEM = (32, 64)  # channels of the first convolutions
GRID = 4  # tokens along each side of a frame: FRAME_SIZE / 16
NORM_GROUPS = 8
INITIAL_SCALE, LARGEST_SCALE = 1 / 0.07, 100.0  # of CLIP


@dataclass(frozen=True)
class AgreementConfig:
    """Sizes of both towers.

    Args:
        frames: frames of a video that are seen, evenly apart.
        width: channels of the video tower.
        layers: its transformer blocks.
        heads: attention heads of both towers.
        dim: of the space in which text and video are compared.
        text_width: channels of the text tower.
        text_layers: its blocks.
    """

    frames: int = 8
    width: int = 128
    layers: int = 3
    heads: int = 4
    dim: int = 128
    text_width: int = 96
    text_layers: int = 2


class VideoTower(nn.Module):
    """Frames to one vector: convolutions on each frame, then a transformer over all of them."""

    def __init__(self, config: AgreementConfig):
        super().__init__()
        widths = (3, *STEM, config.width, config.width)
        convolutions = [
            nn.Sequential(
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.GroupNorm(NORM_GROUPS, after),
                nn.SiLU(),
            )
            for before, after in pairwise(widths)
        ]
        self.stem = nn.Sequential(*convolutions)
        self.place = nn.Parameter(0.02 * torch.randn(GRID * GRID, config.width))
        self.time = nn.Parameter(0.02 * torch.randn(config.frames, config.width))
        self.summary = nn.Parameter(0.02 * torch.randn(config.width))
        block = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            4 * config.width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(block, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)
        self.proj = nn.Linear(config.width, config.dim)

    def forward(self, frames: Tensor) -> Tensor:
        """Return `[B, dim]` of frames `[B, 3, K, FRAME_SIZE, FRAME_SIZE]` in -1..1."""
        count = frames.shape[2]
        features = self.stem(rearrange(frames, "b c k h w -> (b k) c h w"))
        tokens = rearrange(features, "(b k) c h w -> b k (h w) c", k=count)
        tokens = tokens + self.place + self.time[:, None]  # [B, K, GRID^2, width]
        summary = self.summary.expand(len(tokens), 1, -1)
        tokens = torch.cat([summary, tokens.flatten(1, 2)], dim=1)  # [B, 1 + K GRID^2, width]
        return self.proj(self.norm(self.transformer(tokens)[:, 0]))


class AgreementModel(nn.Module):
    """Both towers and the scale of their products."""

    def __init__(self, config: AgreementConfig, tokenizer: WordTokenizer):
        super().__init__()
        self.config = config
        self.text = TextEncoder(_text_config(config, tokenizer), tokenizer)
        self.text_proj = nn.Linear(config.text_width, config.dim)
        self.video = VideoTower(config)
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_SCALE).log())

    @property
    def scale(self) -> Tensor:
        """Return the factor of cosines in the loss, at most 100."""
        return self.log_scale.exp().clamp(max=LARGEST_SCALE)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Return unit vectors `[B, dim]`."""
        tokens = self.text.encode(list(captions), warn=False).embeddings  # [B, 77, text_width]
        return F.normalize(self.text_proj(tokens.mean(dim=1)), dim=-1)

    def embed_video(self, frames: Tensor) -> Tensor:
        """Return unit vectors `[B, dim]` of videos `[B, 3, T, H, W]` in -1..1."""
        frames = frames[:, :, self.chosen_frames(frames.shape[2]).to(frames.device)]
        return F.normalize(self.video(_to_frame_size(frames)), dim=-1)

    def chosen_frames(self, num_frames: int) -> Tensor:
        """Return the indices `[K]` of the frames that are seen, from the first to the last."""
        return torch.linspace(0, num_frames - 1, self.config.frames).round().long()

    def forward(self, frames: Tensor, captions: Sequence[str]) -> Tensor:
        """Return the cosine of each video `[B, 3, T, H, W]` and its caption: `[B]`."""
        return (self.embed_video(frames) * self.embed_text(captions)).sum(dim=-1)


def _text_config(config: AgreementConfig, tokenizer: WordTokenizer) -> TextConfig:
    return TextConfig(
        width=config.text_width,
        layers=config.text_layers,
        heads=config.heads,
        vocab_size=tokenizer.vocab_size,
        mlp_width=4 * config.text_width,
        skip_last=0,
    )


def _to_frame_size(frames: Tensor) -> Tensor:
    """Return frames `[B, 3, K, H, W]` resized to the size that the tower was trained on."""
    if frames.shape[-2:] == (FRAME_SIZE, FRAME_SIZE):
        return frames
    images = rearrange(frames, "b c k h w -> (b k) c h w")
    size = (FRAME_SIZE, FRAME_SIZE)
    images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
    return rearrange(images, "(b k) c h w -> b c k h w", b=len(frames))


def new_agreement(config: AgreementConfig | None = None) -> AgreementModel:
    """Return an untrained model with the vocabulary of the captions."""
    return AgreementModel(config or AgreementConfig(), WordTokenizer.from_words(vocabulary()))


def save_agreement(path: Path, model: AgreementModel) -> None:
    """Write a model as an fp16 safetensors file."""
    tokenizer = model.text.tokenizer
    words = tokenizer.to_json() if isinstance(tokenizer, WordTokenizer) else ""
    metadata = {CONFIG_KEY: json.dumps(asdict(model.config)), WORDS_KEY: words}
    tensors = {key: value.half().cpu().contiguous() for key, value in model.state_dict().items()}
    check_destination(path, overwrite=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_agreement(path: str | Path) -> AgreementModel:
    """Read a model that `save_agreement` wrote, in eval mode, frozen.

    Raises:
        CheckpointError: the file is missing, damaged, or another kind of model.
    """
    file = open_tensors(path)
    if CONFIG_KEY not in file.metadata or WORDS_KEY not in file.metadata:
        raise CheckpointError(
            f"{file.path.name} is no model of agreement: expected a file of `train agreement`"
        )
    try:
        config = replace(AgreementConfig(), **json.loads(file.metadata[CONFIG_KEY]))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"got a wrong config in {file.path.name} ({error})") from error
    model = AgreementModel(config, WordTokenizer.from_json(file.metadata[WORDS_KEY]))
    validate_state_dict("agreement", model.state_dict(), file.tensors)
    model.load_state_dict({key: tensor.read() for key, tensor in file.tensors.items()})
    return model.eval().requires_grad_(False)
