"""The video U-Net of Hummingbird and of its teacher VideoCrafter2 (arXiv 2503.18559, section 3).

One config, one model; every preset is data. Module names give exactly the checkpoints' keys, with
their historic typo `temopral_conv`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .errors import InputError
from .unet_layers import (
    INIT_ATTENTION_HEADS,
    NORM_GROUPS,
    Block,
    Conditioning,
    Downsample,
    ResBlock,
    SpatialTransformer,
    TemporalTransformer,
    Upsample,
    timestep_embedding,
)

GUIDANCE_DIM = 256  # width of the guidance embedding that `time_cond_proj` takes


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a U-Net. The defaults are VideoCrafter2's.

    Args:
        in_channels: latent channels in.
        out_channels: latent channels out.
        model_channels: width of the first level; all others are multiples of it.
        channel_mult: width of each level relative to `model_channels`; each level halves the size.
        num_res_blocks: residual blocks a level on the way down (one more on the way up).
        attention_levels: levels that have a spatial and a temporal transformer after each ResBlock.
        head_channels: channels of one attention head.
        context_dim: width of the text embedding.
        middle_block: whether there is a block at the lowest resolution (pruned from the 0.7B).
        guidance_embedding: whether `time_cond_proj` takes an embedding of the guidance scale.
        dropout: drop probability in ResBlocks and temporal convolutions, in training only.
    """

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_levels: tuple[int, ...] = (0, 1, 2)
    head_channels: int = 64
    context_dim: int = 1024
    middle_block: bool = True
    guidance_embedding: bool = False
    dropout: float = 0.0

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> UNetConfig:
        """The config called `name`, with single fields changed.

        Raises:
            InputError: there is no such preset.
        """
        if name not in PRESETS:
            raise InputError(
                f"got U-Net preset {name!r}, expected one of {', '.join(PRESETS)}: choose one"
            )
        return replace(PRESETS[name], **changes)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UNetConfig:
        """The inverse of `to_dict` (JSON has no tuples)."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    @classmethod
    def from_state_dict(cls, state_dict: dict[str, Tensor]) -> UNetConfig:
        """Reads the config off the shapes of a checkpoint's tensors (keys without prefix).

        Raises:
            InputError: the keys are not those of this U-Net.
        """
        shapes = {key: tuple(tensor.shape) for key, tensor in state_dict.items()}
        return _config_from_shapes(shapes)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def preset(self) -> str | None:
        """Name of the preset that has this shape; dropout and guidance input do not count."""

        def shape(config: UNetConfig) -> UNetConfig:
            return replace(config, dropout=0.0, guidance_embedding=False)

        return next((name for name, c in PRESETS.items() if shape(c) == shape(self)), None)


PRESETS = {
    "videocrafter2": UNetConfig(),
    "hummingbird-0.9b": UNetConfig(num_res_blocks=1, guidance_embedding=True),
    "hummingbird-0.7b": UNetConfig(num_res_blocks=1, middle_block=False, guidance_embedding=True),
    # 64x64 videos have 8x8 latents: three levels, and attention at 4x4 only, keep a CPU fast.
    "nano-teacher": UNetConfig(
        model_channels=32,
        channel_mult=(1, 2, 2),
        attention_levels=(1,),
        head_channels=8,
        context_dim=64,
    ),
    "hummingbird-nano": UNetConfig(
        model_channels=32,
        channel_mult=(1, 2, 2),
        attention_levels=(1,),
        head_channels=8,
        context_dim=64,
        num_res_blocks=1,
        middle_block=False,
        guidance_embedding=True,
    ),
}


def _config_from_shapes(shapes: dict[str, tuple[int, ...]]) -> UNetConfig:
    try:
        out_channels, width = shapes["out.2.weight"][:2]
        levels = 1 + sum(1 for key in shapes if key.endswith(".op.weight"))
        # `levels` groups of `num_res_blocks + 1` input blocks: conv or down, then the ResBlocks.
        blocks = 1 + max(int(k.split(".")[1]) for k in shapes if k.startswith("input_blocks."))
        stride = blocks // levels
        first = [f"input_blocks.{level * stride + 1}" for level in range(levels)]
        widths = [shapes[f"{block}.0.out_layers.3.weight"][0] for block in first]
        attention = tuple(i for i, block in enumerate(first) if f"{block}.1.norm.weight" in shapes)
        cross = f"{first[attention[0]]}.1.transformer_blocks.0.attn2.to_k.weight"
        return UNetConfig(
            in_channels=shapes["input_blocks.0.0.weight"][1],
            out_channels=out_channels,
            model_channels=width,
            channel_mult=tuple(w // width for w in widths),
            num_res_blocks=stride - 1,
            attention_levels=attention,
            head_channels=shapes["init_attn.0.proj_in.weight"][0] // INIT_ATTENTION_HEADS,
            context_dim=shapes[cross][1],
            middle_block="middle_block.0.in_layers.0.weight" in shapes,
            guidance_embedding="time_cond_proj.weight" in shapes,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"got {len(shapes)} tensors in which {error} is not found, expected the keys of a "
            "VideoCrafter2 or Hummingbird U-Net: check that the file is one"
        ) from error


class HummingbirdUNet(nn.Module):
    """Predicts the noise in a video latent.

    Args:
        config: which U-Net.
        operations: namespace of layer classes, `torch.nn` or one that casts and offloads them.
        dtype: of the weights.
        device: of the weights; "meta" makes a model without memory, to be filled by
            `load_state_dict(..., assign=True)`.
    """

    def __init__(
        self,
        config: UNetConfig,
        *,
        operations: Any = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        build = _Builder(config, operations, {"dtype": dtype, "device": device})
        self.time_embed = build.embedding_mlp()
        self.fps_embedding = build.embedding_mlp()
        if config.guidance_embedding:
            self.time_cond_proj = build.guidance_projection()
        self.input_blocks, skip_widths = build.input_blocks()
        self.init_attn = build.init_attention()
        if config.middle_block:
            self.middle_block = build.middle_block(skip_widths[-1])
        self.output_blocks = build.output_blocks(skip_widths)
        self.out = build.output_layers()

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        fps: Tensor | float = 8,
        timestep_cond: Tensor | None = None,
    ) -> Tensor:
        """Predicts the noise in `sample`.

        Args:
            sample: noisy latents `[B, 4, T, H, W]`, any T >= 1.
            timestep: step number(s) of the 1000-step schedule, scalar or `[B]`.
            encoder_hidden_states: text embedding `[B, 77, context_dim]`.
            fps: frames per second of the clip, scalar or `[B]`.
            timestep_cond: guidance embedding `[B, 256]`; None adds nothing.

        Returns:
            predicted noise, `[B, 4, T, H, W]`.

        Raises:
            InputError: a shape does not fit, or guidance is given to a U-Net without that input.
        """
        self._check_inputs(sample, encoder_hidden_states, timestep_cond)
        batch, _, num_frames, _, _ = sample.shape
        embedding = self._embed(sample, timestep, fps, timestep_cond)
        cond = Conditioning(embedding, encoder_hidden_states, num_frames)
        # [B, C, T, H, W] -> [B*T, C, H, W]
        x = sample.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for i, block in enumerate(self.input_blocks):
            x = self._run(block, x, cond)
            if i == 0:
                x = self._run(self.init_attn, x, cond)
            skips.append(x)
        if self.config.middle_block:
            x = self._run(self.middle_block, x, cond)
        for block in self.output_blocks:
            skip = skips.pop()
            height, width = skip.shape[-2:]
            x = self._run(block, torch.cat([x[..., :height, :width], skip], dim=1), cond)
        return self.out(x).unflatten(0, (batch, num_frames)).transpose(1, 2)  # [B, C, T, H, W]

    def _run(self, block: Block, x: Tensor, cond: Conditioning) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, x, cond, use_reentrant=False)
        return block(x, cond)

    def _embed(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        fps: Tensor | float,
        timestep_cond: Tensor | None,
    ) -> Tensor:
        """Embedding of time, guidance and frame rate, `[B, 4 * model_channels]`."""

        def sinusoids(values: Tensor | float) -> Tensor:
            values = torch.as_tensor(values, device=sample.device).expand(sample.shape[0])
            return timestep_embedding(values, self.config.model_channels).to(sample.dtype)

        time = sinusoids(timestep)
        if timestep_cond is not None:
            time = time + self.time_cond_proj(timestep_cond.to(sample.dtype))
        return self.time_embed(time) + self.fps_embedding(sinusoids(fps))

    def _check_inputs(self, sample: Tensor, context: Tensor, timestep_cond: Tensor | None) -> None:
        channels, context_dim = self.config.in_channels, self.config.context_dim
        if sample.ndim != 5 or sample.shape[1] != channels:
            raise InputError(
                f"got sample of shape {tuple(sample.shape)}, expected [B, {channels}, T, H, W]: "
                "pass video latents with a frame axis"
            )
        if context.ndim != 3 or context.shape[::2] != (sample.shape[0], context_dim):
            raise InputError(
                f"got encoder_hidden_states of shape {tuple(context.shape)}, expected "
                f"[{sample.shape[0]}, L, {context_dim}]: use this model's own text encoder"
            )
        if timestep_cond is not None and not self.config.guidance_embedding:
            raise InputError(
                "got timestep_cond, expected None: this U-Net has no guidance input "
                "(time_cond_proj); guide it with an unconditional prediction instead"
            )


@dataclass(frozen=True)
class _Builder:
    """Makes the parts of a U-Net."""

    config: UNetConfig
    operations: Any
    factory: dict[str, Any]

    def embedding_mlp(self) -> nn.Sequential:
        width, dim, linear = self.config.model_channels, 4 * self.config.model_channels, self.linear
        return nn.Sequential(linear(width, dim), nn.SiLU(), linear(dim, dim))

    def guidance_projection(self) -> nn.Module:
        return self.linear(GUIDANCE_DIM, self.config.model_channels, bias=False)

    def input_blocks(self) -> tuple[nn.ModuleList, list[int]]:
        """The way down, and the width of every skip connection it leaves."""
        config, width = self.config, self.config.model_channels
        blocks, widths = [Block([self.conv3x3(config.in_channels, width)])], [width]
        for level, mult in enumerate(config.channel_mult):
            if level > 0:
                blocks.append(Block([Downsample(widths[-1], self.operations, **self.factory)]))
                widths.append(widths[-1])
            for _ in range(config.num_res_blocks):
                blocks.append(Block(self.level_layers(level, widths[-1], mult * width)))
                widths.append(mult * width)
        return nn.ModuleList(blocks), widths

    def init_attention(self) -> Block:
        inner_dim = INIT_ATTENTION_HEADS * self.config.head_channels
        width = self.config.model_channels
        return Block([self.temporal_transformer(width, inner_dim, use_linear=False)])

    def middle_block(self, channels: int) -> Block:
        before, after = (self.res_block(channels, channels) for _ in range(2))
        return Block([before, *self.transformers(channels), after])

    def output_blocks(self, skip_widths: list[int]) -> nn.ModuleList:
        config, skips = self.config, list(skip_widths)
        blocks, channels = [], skips[-1]
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            for i in range(config.num_res_blocks + 1):
                out_channels = mult * config.model_channels
                layers = self.level_layers(level, channels + skips.pop(), out_channels)
                channels = out_channels
                if level > 0 and i == config.num_res_blocks:
                    layers.append(Upsample(channels, self.operations, **self.factory))
                blocks.append(Block(layers))
        return nn.ModuleList(blocks)

    def output_layers(self) -> nn.Sequential:
        width = self.config.model_channels
        norm = self.operations.GroupNorm(NORM_GROUPS, width, **self.factory)
        return nn.Sequential(norm, nn.SiLU(), self.conv3x3(width, self.config.out_channels))

    def level_layers(self, level: int, channels: int, out_channels: int) -> list[nn.Module]:
        """A ResBlock, and the transformers where the level has them."""
        attention = level in self.config.attention_levels
        transformers = self.transformers(out_channels) if attention else []
        return [self.res_block(channels, out_channels), *transformers]

    def res_block(self, channels: int, out_channels: int) -> ResBlock:
        embedding_dim, dropout = 4 * self.config.model_channels, self.config.dropout
        return ResBlock(
            channels, out_channels, embedding_dim, dropout, self.operations, **self.factory
        )

    def transformers(self, channels: int) -> list[nn.Module]:
        """A spatial and a temporal transformer."""
        spatial = SpatialTransformer(
            channels,
            self.config.context_dim,
            self.config.head_channels,
            self.operations,
            **self.factory,
        )
        return [spatial, self.temporal_transformer(channels, channels, use_linear=True)]

    def temporal_transformer(
        self, channels: int, inner_dim: int, use_linear: bool
    ) -> TemporalTransformer:
        head_channels = self.config.head_channels
        return TemporalTransformer(
            channels, inner_dim, head_channels, use_linear, self.operations, **self.factory
        )

    def linear(self, channels: int, out_channels: int, bias: bool = True) -> nn.Module:
        return self.operations.Linear(channels, out_channels, bias=bias, **self.factory)

    def conv3x3(self, channels: int, out_channels: int) -> nn.Module:
        return self.operations.Conv2d(channels, out_channels, 3, padding=1, **self.factory)
