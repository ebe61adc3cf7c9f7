"""The video U-Net of Hummingbird and of its teacher VideoCrafter2 (arXiv 2503.18559, section 3).

One config, one model; every preset is data. Module names give exactly the checkpoints' keys, with
their historic typo `temopral_conv`.

Shapes: B videos, T frames, C channels, H x W latent pixels, K texts of L tokens each, E = 4 *
model_channels channels of the conditioning embedding.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..cpu import accelerate_for_cpu
from ..errors import InputError
from ..sampling.schedule import alpha_sigma
from .config import PRESETS, UNetConfig
from .hooks import PLAIN, UNetHooks
from .layers import (
    Conditioning,
    Downsample,
    FramePositionEmbedding,
    ResBlock,
    SpatialTransformer,
    TemporalTransformer,
    UNetBlock,
    Upsample,
    conv3x3,
    timestep_embedding,
)
from .text import Text, check_text

__all__ = ["PRESETS", "HummingbirdUNet", "UNetConfig"]

GUIDANCE_DIM = 256  # channels of the guidance embedding that `time_cond_proj` projects
LAYER_CLASSES = ("Linear", "Conv1d", "Conv2d", "Conv3d", "GroupNorm", "LayerNorm")


class HummingbirdUNet(nn.Module):
    """A U-Net that predicts the noise in a video latent.

    Args:
        config: shape of the U-Net.
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
        ops = bind_factory(operations, dtype=dtype, device=device)
        width = config.model_channels

        # Conditioning: timestep, frame rate, guidance scale (consistency-distilled students, as
        # in LCM, arXiv 2310.04378) and the position of each frame.
        self.time_embed = embedding_mlp(config, ops)
        self.fps_embedding = embedding_mlp(config, ops)
        if config.guidance_embedding:
            self.time_cond_proj = ops.Linear(GUIDANCE_DIM, width, bias=False)
        if config.frame_phase:
            self.frame_phase = FramePositionEmbedding(config, ops)

        # Way down: a convolution, then `num_res_blocks` blocks a level, with H and W halved between
        # levels. The output of every block is kept as a skip connection for the way up.
        blocks = [UNetBlock(conv3x3(config.in_channels, width, ops))]
        skips = [width]  # channels of the skip connections
        for level, mult in enumerate(config.channel_mult):
            if level > 0:
                blocks.append(UNetBlock(Downsample(skips[-1], ops)))
                skips.append(skips[-1])
            for _ in range(config.num_res_blocks):
                blocks.append(UNetBlock(*level_layers(level, skips[-1], config, ops)))
                skips.append(mult * width)
        self.input_blocks = nn.ModuleList(blocks)
        # Runs behind the first block, though the checkpoints keep it apart from the list.
        self.init_attn = UNetBlock(TemporalTransformer(width, config, ops, is_initial=True))

        # Lowest resolution: ResBlock, attention among pixels, attention through time, ResBlock.
        channels = skips[-1]
        if config.middle_block:
            before, after = (ResBlock(channels, channels, config, ops) for _ in range(2))
            self.middle_block = UNetBlock(before, *transformers(channels, config, ops), after)

        self.output_blocks = nn.ModuleList(way_up(channels, skips, config, ops))
        # Features to latent channels: conv(SiLU(norm(x))).
        self.out = nn.Sequential(
            ops.GroupNorm(config.norm_groups, width),
            nn.SiLU(),
            conv3x3(width, config.out_channels, ops),
        )
        # Layers above are plain ones; the faster kernels for CPUs come in here, keys stay.
        accelerate_for_cpu(self)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        fps: Tensor | float = 8,
        timestep_cond: Tensor | None = None,
        *,
        text_weights: Tensor | None = None,
        loop: bool = False,
        hooks: UNetHooks = PLAIN,
    ) -> Tensor:
        """Predict the noise in `sample`.

        Args:
            sample: noisy latents `[B, 4, T, H, W]`, any T >= 1.
            timestep: step number(s) of the 1000-step schedule, scalar or `[B]`.
            encoder_hidden_states: text embedding `[B, 77, context_dim]`, or one for each frame,
                `[B, T, 77, context_dim]`.
            fps: frames per second of the clip, scalar or `[B]`.
            timestep_cond: guidance embedding `[B, 256]`; None adds nothing.
            text_weights: `[B, T, K]`, for embeddings of K texts `[B, K, 77, context_dim]`: frame t
                has the text sum_k w_tk c_k, and each of the K is projected once.
            loop: make time a circle, with the first frame after the last one. Without
                `config.frame_phase` the prediction then commutes with a roll of the frames.
            hooks: called at fixed places of the pass.

        Returns:
            The predicted noise, `[B, 4, T, H, W]`.

        Raises:
            InputError: a shape does not fit, or guidance is given to a U-Net without that input.
        """
        self._check_inputs(sample, encoder_hidden_states, timestep_cond, text_weights)
        batch, _, num_frames, _, _ = sample.shape
        text = Text.of(encoder_hidden_states, text_weights)
        timestep, fps = per_video(timestep, sample), per_video(fps, sample)  # [B] each
        embedding = hooks.embedding(self._embed(sample, timestep, fps, timestep_cond))
        embedding = embedding[:, None]  # [B, E] -> [B, 1, E]
        if self.config.frame_phase:
            # [B, 1, E] + [B, T, E] -> [B, T, E]
            embedding = embedding + self._embed_position(text, num_frames, fps, loop)
        cond = Conditioning(embedding, text, num_frames, hooks, loop)
        # [B, C, T, H, W] -> [B, T, C, H, W] -> [B*T, C, H, W]
        # Channels-last: there spatial and temporal layers share the memory without copies.
        x = sample.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        # Down: x halves at each level, and every block leaves a skip connection.
        skips: list[Tensor] = []
        for i, block in enumerate(self.input_blocks):
            hooks.enter("input", i)
            x = self.run_block(block, x, cond)
            if i == 0:
                x = self.run_block(self.init_attn, x, cond)
            x = hooks.after_block(x)
            skips.append(x)
            x = hooks.after_skip(x)
        hooks.enter("middle", 0)
        if self.config.middle_block:
            x = self.run_block(self.middle_block, x, cond)
        x = hooks.after_block(x)
        # Up: the last skip connection belongs to the first block.
        for i, block in enumerate(self.output_blocks):
            hooks.enter("output", i)
            x = concat_skip(x, skips.pop(), hooks)
            x = self.run_block(block, x, cond)
        # [B*T, C, H, W] -> [B, T, C, H, W] -> [B, C, T, H, W]
        out = self.out(x).unflatten(0, (batch, num_frames)).transpose(1, 2)
        return v_to_eps(sample, out, timestep) if self.config.v_prediction else out

    def run_block(self, block: nn.Module, x: Tensor, cond: Conditioning) -> Tensor:
        """Apply one block to `[B*T, C, H, W]`, recomputing it in the backward pass if asked."""
        # Keeps the block's input only and computes it twice (arXiv 1604.06174).
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, x, cond, use_reentrant=False)
        return block(x, cond)

    def _embed(
        self, sample: Tensor, timestep: Tensor, fps: Tensor, timestep_cond: Tensor | None
    ) -> Tensor:
        """Return the embedding of timestep, guidance and frame rate, `[B, E]`.

        emb = MLP(sin(t) + W w) + MLP'(sin(fps)), w the embedded guidance scale.
        """
        width, dtype = self.config.model_channels, sample.dtype
        # Sinusoids in float32, then in the dtype of the layers: [B] -> [B, model_channels]
        time = timestep_embedding(timestep, width).to(dtype)
        if timestep_cond is not None:
            # [B, 256] -> [B, model_channels]
            time = time + self.time_cond_proj(timestep_cond.to(dtype))
        rate = timestep_embedding(fps, width).to(dtype)
        # twice [B, model_channels] -> [B, E]
        return self.time_embed(time) + self.fps_embedding(rate)

    def _embed_position(self, text: Text, num_frames: int, fps: Tensor, loop: bool) -> Tensor:
        """Return the embedding of each frame's position and text, `[B, T, E]`."""
        texts = text.tokens.unbind(dim=1)  # K times [B, L, context_dim]
        by_text = [self.frame_phase(tokens, num_frames, fps, loop=loop) for tokens in texts]
        if text.weights is None:
            return by_text[0]
        # [B, T, K, 1] * [B, T, K, E] -> [B, T, E]
        return (text.weights[..., None] * torch.stack(by_text, dim=2)).sum(dim=2)

    def _check_inputs(
        self,
        sample: Tensor,
        context: Tensor,
        timestep_cond: Tensor | None,
        text_weights: Tensor | None,
    ) -> None:
        channels = self.config.in_channels
        if sample.ndim != 5 or sample.shape[1] != channels:
            raise InputError(
                f"got sample of shape {tuple(sample.shape)}, expected [B, {channels}, T, H, W]: "
                "pass video latents with a frame axis"
            )
        check_text(context, text_weights, tuple(sample.shape), self.config.context_dim)
        if timestep_cond is not None and not self.config.guidance_embedding:
            raise InputError(
                "got timestep_cond, expected None: this U-Net has no guidance input "
                "(time_cond_proj); guide it with an unconditional prediction instead"
            )


def bind_factory(operations: Any, **factory: Any) -> SimpleNamespace:
    """Return the layer classes with dtype and device bound, so that no layer passes them on."""
    bound = {
        name: functools.partial(getattr(operations, name), **factory) for name in LAYER_CLASSES
    }
    return SimpleNamespace(**bound)


def embedding_mlp(config: UNetConfig, operations: Any) -> nn.Sequential:
    """Return the MLP from sinusoids `[B, model_channels]` to an embedding `[B, E]`."""
    return nn.Sequential(
        operations.Linear(config.model_channels, config.embedding_dim),
        nn.SiLU(),
        operations.Linear(config.embedding_dim, config.embedding_dim),
    )


def way_up(
    channels: int, skips: list[int], config: UNetConfig, operations: Any
) -> Iterator[UNetBlock]:
    """Yield the output blocks; each takes the features before it and one skip connection.

    Args:
        channels: of the features at the lowest resolution.
        skips: channels of the skip connections, the first on the way down first.
        config: of the U-Net.
        operations: namespace of layer classes.
    """
    remaining = list(skips)
    for level, mult in reversed(list(enumerate(config.channel_mult))):
        # One block more than on the way down: a level has num_res_blocks skip connections, and one
        # of the convolution or downsampling before it.
        for i in range(config.num_res_blocks + 1):
            # [B*T, C + C', H, W] -> [B*T, mult * model_channels, H, W]
            layers = level_layers(level, channels + remaining.pop(), config, operations)
            channels = mult * config.model_channels
            # The last block of a level doubles H and W for the next one.
            if level > 0 and i == config.num_res_blocks:
                layers.append(Upsample(channels, operations))
            yield UNetBlock(*layers)


def level_layers(
    level: int, in_channels: int, config: UNetConfig, operations: Any
) -> list[nn.Module]:
    """Return a ResBlock, and the transformers behind it on levels that have attention."""
    channels = config.channel_mult[level] * config.model_channels
    has_attention = level in config.attention_levels
    # Before the ResBlock: the order of random initialization, which seeds of training rely on.
    attention = transformers(channels, config, operations) if has_attention else []
    return [ResBlock(in_channels, channels, config, operations), *attention]


def transformers(channels: int, config: UNetConfig, operations: Any) -> list[nn.Module]:
    """Return a spatial and a temporal transformer."""
    return [
        SpatialTransformer(channels, config, operations),
        TemporalTransformer(channels, config, operations),
    ]


def per_video(values: Tensor | float, sample: Tensor) -> Tensor:
    """Return a scalar or `[B]` as `[B]` on the device of `sample`, without waiting for it."""
    if isinstance(values, (int, float)):
        return torch.full((len(sample),), values, device=sample.device)
    # The copy from a CPU to an accelerator may overlap with its work.
    overlap = sample.device.type != "cpu"
    values = torch.as_tensor(values).to(sample.device, non_blocking=overlap)
    return values.expand(len(sample))  # scalar, [1] or [B] -> [B]


def concat_skip(x: Tensor, skip: Tensor, hooks: UNetHooks) -> Tensor:
    """Concatenate the channels of features and skip connection, `[B*T, C, H, W]` each.

    `x` is cropped where its size was odd before it was halved. A function, so that both inputs are
    freed before the next block runs.
    """
    # [B*T, C, H or H + 1, W or W + 1] and [B*T, C', H, W] -> [B*T, C + C', H, W]
    return torch.cat(hooks.join(x[..., : skip.shape[-2], : skip.shape[-1]], skip), dim=1)


def v_to_eps(sample: Tensor, v: Tensor, timestep: Tensor | float) -> Tensor:
    """Convert a velocity to noise: eps = sqrt(1 - a_t) x_t + sqrt(a_t) v (arXiv 2202.00512).

    Args:
        sample: noisy latents x_t, `[B, C, T, H, W]`.
        v: predicted velocity, of the same shape.
        timestep: t, scalar or `[B]`.

    Returns:
        The noise, in the shape and dtype of `sample`.
    """
    steps = torch.as_tensor(timestep).long()
    # v = sqrt(a_t) eps - sqrt(1 - a_t) x_0 and x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps, solved for
    # eps; both factors are [B, 1, 1, 1, 1].
    signal, sigma = alpha_sigma(steps, sample)
    return (sigma * sample + signal * v).to(sample.dtype)
