"""The video U-Net of Hummingbird and of its teacher VideoCrafter2 (arXiv 2503.18559, section 3).

One config, one model; every preset is data. Module names give exactly the checkpoints' keys, with
their historic typo `temopral_conv`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import InputError
from ..sampling.schedule import alpha_sigma
from .config import PRESETS, UNetConfig
from .layers import (
    INIT_ATTENTION_HEADS,
    Conditioning,
    Downsample,
    FramePositionEmbedding,
    ResBlock,
    SpatialTransformer,
    TemporalTransformer,
    UNetBlock,
    Upsample,
    spatial_conv,
    timestep_embedding,
)

__all__ = ["PRESETS", "HummingbirdUNet", "UNetConfig"]

GUIDANCE_DIM = 256  # width of the guidance embedding that `time_cond_proj` takes


def v_to_eps(sample: Tensor, v: Tensor, timestep: Tensor | float) -> Tensor:
    """sqrt(1 - a_t) x_t + sqrt(a_t) v, the noise if v is the velocity (arXiv 2202.00512)."""
    steps = torch.as_tensor(timestep).long()
    signal, sigma = alpha_sigma(steps, sample)
    return (sigma * sample + signal * v).to(sample.dtype)


def _joined(x: Tensor, skip: Tensor) -> Tensor:
    """Channels of both; `x` is cut where its size was odd before it was halved.

    A function, so that nobody holds on to either while the next block runs.
    """
    return torch.cat([x[..., : skip.shape[-2], : skip.shape[-1]], skip], dim=1)


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
        if config.frame_phase:
            self.frame_phase = build.frame_phase()
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
        embedding = self._embed(sample, timestep, fps, timestep_cond)[:, None]
        if self.config.frame_phase:
            embedding = embedding + self.frame_phase(encoder_hidden_states, num_frames)
        cond = Conditioning(embedding, encoder_hidden_states, num_frames)
        # [B, C, T, H, W] -> [B*T, C, H, W]
        x = sample.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for i, block in enumerate(self.input_blocks):
            x = self.run_block(block, x, cond)
            if i == 0:
                x = self.run_block(self.init_attn, x, cond)
            skips.append(x)
        if self.config.middle_block:
            x = self.run_block(self.middle_block, x, cond)
        for block in self.output_blocks:
            x = _joined(x, skips.pop())
            x = self.run_block(block, x, cond)
        out = self.out(x).unflatten(0, (batch, num_frames)).transpose(1, 2)  # [B, C, T, H, W]
        return v_to_eps(sample, out, timestep) if self.config.v_prediction else out

    def run_block(self, block: nn.Module, x: Tensor, cond: Conditioning) -> Tensor:
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

    def frame_phase(self) -> FramePositionEmbedding:
        dim = 4 * self.config.model_channels
        return FramePositionEmbedding(self.config.context_dim, dim, self.operations, **self.factory)

    def input_blocks(self) -> tuple[nn.ModuleList, list[int]]:
        """The way down, and the width of every skip connection it leaves."""
        config, width = self.config, self.config.model_channels
        blocks, widths = [UNetBlock([self.conv3x3(config.in_channels, width)])], [width]
        for level, mult in enumerate(config.channel_mult):
            if level > 0:
                blocks.append(UNetBlock([Downsample(widths[-1], self.operations, **self.factory)]))
                widths.append(widths[-1])
            for _ in range(config.num_res_blocks):
                blocks.append(UNetBlock(self.level_layers(level, widths[-1], mult * width)))
                widths.append(mult * width)
        return nn.ModuleList(blocks), widths

    def init_attention(self) -> UNetBlock:
        inner_dim = INIT_ATTENTION_HEADS * self.config.head_channels
        width = self.config.model_channels
        return UNetBlock([self.temporal_transformer(width, inner_dim, use_linear=False)])

    def middle_block(self, channels: int) -> UNetBlock:
        before, after = (self.res_block(channels, channels) for _ in range(2))
        return UNetBlock([before, *self.transformers(channels), after])

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
                blocks.append(UNetBlock(layers))
        return nn.ModuleList(blocks)

    def output_layers(self) -> nn.Sequential:
        width = self.config.model_channels
        norm = self.operations.GroupNorm(self.config.norm_groups, width, **self.factory)
        return nn.Sequential(norm, nn.SiLU(), self.conv3x3(width, self.config.out_channels))

    def level_layers(self, level: int, channels: int, out_channels: int) -> list[nn.Module]:
        """A ResBlock, and the transformers where the level has them."""
        attention = level in self.config.attention_levels
        transformers = self.transformers(out_channels) if attention else []
        return [self.res_block(channels, out_channels), *transformers]

    def res_block(self, channels: int, out_channels: int) -> ResBlock:
        return ResBlock(
            channels,
            out_channels,
            4 * self.config.model_channels,
            self.config.norm_groups,
            self.config.dropout,
            self.operations,
            **self.factory,
        )

    def transformers(self, channels: int) -> list[nn.Module]:
        """A spatial and a temporal transformer."""
        spatial = SpatialTransformer(
            channels,
            self.config.context_dim,
            self.config.head_channels,
            self.config.norm_groups,
            self.operations,
            **self.factory,
        )
        return [spatial, self.temporal_transformer(channels, channels, use_linear=True)]

    def temporal_transformer(
        self, channels: int, inner_dim: int, use_linear: bool
    ) -> TemporalTransformer:
        return TemporalTransformer(
            channels,
            inner_dim,
            self.config.head_channels,
            self.config.norm_groups,
            use_linear,
            self.operations,
            **self.factory,
        )

    def linear(self, channels: int, out_channels: int, bias: bool = True) -> nn.Module:
        return self.operations.Linear(channels, out_channels, bias=bias, **self.factory)

    def conv3x3(self, channels: int, out_channels: int) -> nn.Module:
        return spatial_conv(channels, out_channels, self.operations, **self.factory)
