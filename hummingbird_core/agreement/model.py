"""Agreement of a video and a caption of the built-in world: a small CLIP for videos.

Two towers, one for text and one for eight frames, whose outputs are close where both agree (CLIP,
arXiv 2103.00020; X-CLIP, arXiv 2208.02816). The video tower is learned from pairs alone, as those
of HPS and InternVideo2 are, so the model is the built-in one's counterpart of the paper's rewards,
and ranks its seeds. It never judges results: the readers do, which are not learned.

The text tower is the frozen encoder of a video model (LiT, arXiv 2111.07991), which says all that a
caption states. Where both towers learned from nothing, neither found motions: each waits for the
other to have them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import CheckpointError, InputError
from ..files import atomic_write, check_destination
from ..hub.local import agreement_file
from ..inputs.fields import Kind, Whole, check_fields
from ..inputs.json_text import parse_json
from ..text.encoder import TextConfig, TextEncoder
from ..text.tokenizer import WordTokenizer
from ..weights.state_dict import validate_state_dict
from ..weights.tensor_files import open_tensors

CONFIG_KEY = "hummingbird.agreement"
TEXT_CONFIG_KEY = "hummingbird.agreement_text"
WORDS_KEY = "hummingbird.agreement_words"
STEM = (32, 64)  # channels of the first convolutions
FLOW_CELL, FLOW_CHANNELS = 4, 5  # pixels along a cell; flow in x and y, and the change of 3 colors
FLAT = 0.02  # e: squared steepness below which a cell has no flow
TOKEN_SIZE = 16  # pixels along a side of a token
NORM_GROUPS = 8
INITIAL_SCALE, LARGEST_SCALE = 1 / 0.07, 100.0  # of CLIP
# Limits of a file's sizes, which are built before its tensors are compared with them.
FIELDS: dict[str, Kind] = {
    "frames": Whole(1, 64),
    "frame_size": Whole(TOKEN_SIZE, 512),
    "width": Whole(NORM_GROUPS, 1024),
    "layers": Whole(1, 12),
    "heads": Whole(1, 64),
    "dim": Whole(1, 1024),
}
TEXT_FIELDS: dict[str, Kind] = {
    "width": Whole(1, 768),
    "layers": Whole(1, 12),
    "heads": Whole(1, 64),
    "vocab_size": Whole(1, 100_000),
    "context_length": Whole(1, 77),
    "mlp_width": Whole(1, 4096),
    "skip_last": Whole(0, 12),
}


@dataclass(frozen=True)
class AgreementConfig:
    """Sizes of the video tower and of the common space.

    Args:
        frames: frames of a video that are seen, evenly apart.
        frame_size: pixels along a side of these, a multiple of 16.
        width: channels of the video tower.
        layers: its transformer blocks.
        heads: its attention heads.
        dim: of the space in which text and video are compared.
    """

    frames: int = 8
    frame_size: int = 64
    width: int = 128
    layers: int = 2
    heads: int = 4
    dim: int = 128

    def __post_init__(self) -> None:
        for value, unit in ((self.width, self.heads), (self.frame_size, TOKEN_SIZE)):
            if value % unit:
                raise InputError(f"got {value}, expected a multiple of {unit}")


class VideoTower(nn.Module):
    """Frames and their motion to one vector: convolutions on each, then a transformer over all."""

    def __init__(self, config: AgreementConfig):
        super().__init__()
        near, far = STEM
        self.appearance = nn.Sequential(_convolution(3, near, 2), _convolution(near, far, 2))
        self.motion = _convolution(FLOW_CHANNELS, far, 1)
        self.stem = nn.Sequential(
            _convolution(2 * far, config.width, 2), _convolution(config.width, config.width, 2)
        )
        grid = config.frame_size // TOKEN_SIZE
        self.place = nn.Parameter(0.02 * torch.randn(grid * grid, config.width))
        self.time = nn.Parameter(0.02 * torch.randn(config.frames, config.width))
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
        """Return `[B, dim]` of frames `[B, 3, K, frame_size, frame_size]` in -1..1."""
        count, dtype = frames.shape[2], self.proj.weight.dtype
        flow = rearrange(motion_features(frames).to(dtype), "b c k h w -> (b k) c h w")
        seen = self.appearance(rearrange(frames.to(dtype), "b c k h w -> (b k) c h w"))
        features = self.stem(torch.cat([seen, self.motion(flow)], dim=1))
        tokens = rearrange(features, "(b k) c h w -> b k (h w) c", k=count)
        tokens = tokens + self.place + self.time[:, None]  # [B, K, grid^2, width]
        tokens = self.transformer(tokens.flatten(1, 2))  # [B, K grid^2, width]
        return self.proj(self.norm(tokens.mean(dim=1)))


def _convolution(before: int, after: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1),
        nn.GroupNorm(NORM_GROUPS, after),
        nn.SiLU(),
    )


def motion_features(frames: Tensor) -> Tensor:
    """Return how each cell moves until the next frame, `[B, FLOW_CHANNELS, K, H/4, W/4]`.

    The first two channels are the optical flow of Lucas and Kanade (1981) in a single cell,

        (u, v) = -(I_x, I_y) I_t / (I_x^2 + I_y^2 + e),

    with products summed over colors; the others are I_t. A direction is a product of a change in
    space and one in time, which the tower did not find by itself in 2,500 steps.

    Args:
        frames: `[B, 3, K, H, W]`; after the last one nothing moves.
    """
    cells = F.avg_pool3d(frames, (1, FLOW_CELL, FLOW_CELL))  # [B, 3, K, H/4, W/4]
    later = torch.cat([cells[:, :, 1:], cells[:, :, -1:]], dim=2)
    change, middle = later - cells, (cells + later) / 2
    padded = F.pad(middle, (1, 1, 1, 1, 0, 0), mode="replicate")
    along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    steepness = (along_x.square() + along_y.square()).sum(dim=1) + FLAT  # [B, K, H/4, W/4]
    flow = [-(along * change).sum(dim=1) / steepness for along in (along_x, along_y)]
    return torch.cat([torch.stack(flow, dim=1), change], dim=1)


class AgreementModel(nn.Module):
    """Both towers and the scale of their products.

    Args:
        config: sizes.
        text: an encoder of captions, frozen here.
    """

    def __init__(self, config: AgreementConfig, text: TextEncoder):
        super().__init__()
        self.config = config
        self.text = text.eval().requires_grad_(False)
        self.text_proj = nn.Sequential(
            nn.LayerNorm(text.config.width),
            nn.Linear(text.config.width, 2 * config.dim),
            nn.GELU(),
            nn.Linear(2 * config.dim, config.dim),
        )
        self.video = VideoTower(config)
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_SCALE).log())

    @property
    def scale(self) -> Tensor:
        """Return the factor of cosines in the loss, at most 100."""
        return self.log_scale.exp().clamp(max=LARGEST_SCALE)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Return unit vectors `[B, dim]`."""
        tokens = self.text.encode(list(captions), warn=False).embeddings  # [B, 77, C]
        return F.normalize(self.text_proj(tokens.mean(dim=1)).float(), dim=-1)

    def embed_video(self, frames: Tensor) -> Tensor:
        """Return unit vectors `[B, dim]` of videos `[B, 3, T, H, W]` in -1..1."""
        frames = frames[:, :, self.chosen_frames(frames.shape[2]).to(frames.device)]
        return F.normalize(self.video(_resized(frames, self.config.frame_size)).float(), dim=-1)

    def chosen_frames(self, num_frames: int) -> Tensor:
        """Return the indices `[K]` of the frames that are seen, from the first to the last."""
        return torch.linspace(0, num_frames - 1, self.config.frames).round().long()

    def forward(self, frames: Tensor, captions: Sequence[str]) -> Tensor:
        """Return the cosine of each video `[B, 3, T, H, W]` and its caption: `[B]`."""
        return (self.embed_video(frames) * self.embed_text(captions)).sum(dim=-1)


def _resized(frames: Tensor, side: int) -> Tensor:
    """Return frames `[B, 3, K, H, W]` as `[B, 3, K, side, side]`."""
    if frames.shape[-2:] == (side, side):
        return frames
    images = rearrange(frames, "b c k h w -> (b k) c h w")
    images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    return rearrange(images, "(b k) c h w -> b c k h w", b=len(frames))


def save_agreement(path: Path, model: AgreementModel) -> None:
    """Write a model as an fp16 safetensors file."""
    tokenizer = model.text.tokenizer
    metadata = {
        CONFIG_KEY: json.dumps(asdict(model.config)),
        TEXT_CONFIG_KEY: json.dumps(asdict(model.text.config)),
        WORDS_KEY: tokenizer.to_json() if isinstance(tokenizer, WordTokenizer) else "",
    }
    tensors = {key: value.half().cpu().contiguous() for key, value in model.state_dict().items()}
    check_destination(path, overwrite=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_agreement(path: str | Path) -> AgreementModel:
    """Read a model that `save_agreement` wrote, in eval mode, frozen.

    Args:
        path: its file, or "nano-agreement".

    Raises:
        CheckpointError: the file is missing, damaged, or another kind of model.
    """
    file = open_tensors(agreement_file(path))
    if not {CONFIG_KEY, TEXT_CONFIG_KEY, WORDS_KEY} <= file.metadata.keys():
        raise CheckpointError(
            f"{file.path.name} is no model of agreement: expected a file of `train agreement`"
        )
    try:
        sizes, text_sizes = (
            check_fields(parse_json(file.metadata[key], key), kinds, key)
            for key, kinds in ((CONFIG_KEY, FIELDS), (TEXT_CONFIG_KEY, TEXT_FIELDS))
        )
        tokenizer = WordTokenizer.from_json(file.metadata[WORDS_KEY])
        text = TextEncoder(TextConfig(**text_sizes), tokenizer)
        model = AgreementModel(AgreementConfig(**sizes), text)
    except ValueError as error:
        raise CheckpointError(f"got a wrong config in {file.path.name} ({error})") from error
    validate_state_dict("agreement", model.state_dict(), file.tensors)
    model.load_state_dict({key: tensor.read() for key, tensor in file.tensors.items()})
    return model.eval().requires_grad_(False)
