"""Plain U-Net and VAE decoder, the reference of `hummingbird bench`.

Written from a description of the original system's computation, not from its code, on the weights
of our models:
- the text embedding is repeated for every frame;
- attention tensors are 3-D `[batch * heads, tokens, d]`, and the attention matrix is materialized
  (in chunks where it would be larger than at 16 frames of 320x512, so that the reference fits);
- temporal convolutions are Conv3d, on features copied to `[B, C, T, H, W]` and back around every
  temporal layer;
- GroupNorm computes in float32;
- the VAE decodes one frame at a time.
For bfloat16 the weights stay float32, under autocast.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..unet.attention import Attention, TransformerBlock
from ..unet.layers import (
    Downsample,
    ResBlock,
    SpatialTransformer,
    TemporalConvBlock,
    TemporalTransformer,
    Upsample,
    timestep_embedding,
)
from ..unet.model import HummingbirdUNet, per_video, v_to_eps

PLAIN, OURS = "plain", "ours"  # names of the two variants in the tables
MAX_MATRIX = 2**31  # bytes of attention matrices at a time


class PlainUNet:
    """A callable that computes `unet` plainly, with its weights."""

    def __init__(self, unet: HummingbirdUNet):
        self.unet = unet

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        fps: Tensor | float = 8,
        timestep_cond: Tensor | None = None,
    ) -> Tensor:
        """Compute `HummingbirdUNet.forward`."""
        unet, (batch, _, frames, _, _) = self.unet, sample.shape
        context = encoder_hidden_states.repeat_interleave(frames, dim=0)  # [B*T, L, C]
        embedding = self._embedding(sample, timestep, fps, timestep_cond)
        embedding = embedding.repeat_interleave(frames, dim=0)  # [B*T, C]
        if unet.config.frame_phase:
            phase = unet.frame_phase(encoder_hidden_states, frames, per_video(fps, sample))
            embedding = embedding + phase.flatten(0, 1)
        conditions = (embedding, context, frames)
        x = rearrange(sample, "b c t h w -> (b t) c h w").contiguous()
        skips = []
        for i, block in enumerate(unet.input_blocks):
            x = run_layers(block, x, *conditions)
            if i == 0:
                x = run_layers(unet.init_attn, x, *conditions)
            skips.append(x)
        if unet.config.middle_block:
            x = run_layers(unet.middle_block, x, *conditions)
        for block in unet.output_blocks:
            skip = skips.pop()
            x = x[..., : skip.shape[-2], : skip.shape[-1]]
            x = run_layers(block, torch.cat([x, skip], dim=1), *conditions)
        norm, _, conv = unet.out
        out = plain_conv2d(conv, F.silu(group_norm(norm, x)))
        out = rearrange(out, "(b t) c h w -> b c t h w", b=batch)
        return v_to_eps(sample, out, timestep) if unet.config.v_prediction else out

    def _embedding(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        fps: Tensor | float,
        timestep_cond: Tensor | None,
    ) -> Tensor:
        width = self.unet.config.model_channels

        def sinusoids(value: Tensor | float) -> Tensor:
            values = torch.as_tensor(value, device=sample.device).expand(len(sample))
            return timestep_embedding(values, width).to(sample.dtype)

        time = sinusoids(timestep)
        if timestep_cond is not None:
            time = time + self.unet.time_cond_proj(timestep_cond.to(sample.dtype))
        return self.unet.time_embed(time) + self.unet.fps_embedding(sinusoids(fps))


def run_layers(block: Any, x: Tensor, embedding: Tensor, context: Tensor, frames: int) -> Tensor:
    """Run the layers of one block on features `[B*T, C, H, W]`."""
    for layer in block:
        x = run_layer(layer, x, embedding, context, frames)
    return x


def run_layer(
    layer: nn.Module, x: Tensor, embedding: Tensor, context: Tensor, frames: int
) -> Tensor:
    """Run one layer.

    Args:
        layer: layer of a `HummingbirdUNet`.
        x: features `[B*T, C, H, W]`.
        embedding: embedding of time, frame rate and guidance `[B*T, 4 * model_channels]`.
        context: text embedding `[B*T, L, C]`.
        frames: number of frames T.
    """
    if isinstance(layer, ResBlock):
        return _res_block(layer, x, embedding, frames)
    if isinstance(layer, SpatialTransformer):
        return _spatial_transformer(layer, x, context)
    if isinstance(layer, TemporalTransformer):
        return _temporal_transformer(layer, x, frames)
    if isinstance(layer, Downsample):
        return layer.op(x)
    if isinstance(layer, Upsample):
        return plain_conv2d(layer.conv, F.interpolate(x, scale_factor=2.0, mode="nearest"))
    return plain_conv2d(layer, x)


def group_norm(norm: Any, x: Tensor) -> Tensor:
    """Compute GroupNorm in float32 for features of any dtype."""
    weight, bias = norm.weight.float(), norm.bias.float()
    return F.group_norm(x.float(), norm.num_groups, weight, bias, norm.eps).to(x.dtype)


def plain_conv2d(conv: Any, x: Tensor) -> Tensor:
    """Compute a 2-D convolution with PyTorch's kernel; the layer's forward may be ours."""
    return F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding)


def _res_block(block: ResBlock, x: Tensor, embedding: Tensor, frames: int) -> Tensor:
    norm, _, conv = block.in_layers
    h = plain_conv2d(conv, F.silu(group_norm(norm, x)))
    h = h + block.emb_layers(embedding)[..., None, None]
    norm, _, _, conv = block.out_layers
    h = block.skip_connection(x) + plain_conv2d(conv, F.silu(group_norm(norm, h)))
    video = rearrange(h, "(b t) c h w -> b c t h w", t=frames).contiguous()
    video = temporal_convs(block.temopral_conv, video)
    return rearrange(video, "b c t h w -> (b t) c h w").contiguous()


def temporal_convs(block: TemporalConvBlock, video: Tensor) -> Tensor:
    """Apply four Conv3d to `[B, C, T, H, W]`."""
    x = video
    for layers in (block.conv1, block.conv2, block.conv3, block.conv4):
        conv: Any = layers[-1]
        x = F.silu(group_norm(layers[0], x))
        x = F.conv3d(x, conv.weight, conv.bias, padding=conv.padding)
    return video + x


def _spatial_transformer(layer: SpatialTransformer, x: Tensor, context: Tensor) -> Tensor:
    tokens = rearrange(group_norm(layer.norm, x), "n c h w -> n (h w) c").contiguous()
    tokens = layer.proj_in(tokens)
    for block in layer.transformer_blocks:
        tokens = _transformer_block(block, tokens, context)
    tokens = layer.proj_out(tokens)
    return x + rearrange(tokens, "n (h w) c -> n c h w", h=x.shape[-2]).contiguous()


def _temporal_transformer(layer: TemporalTransformer, x: Tensor, frames: int) -> Tensor:
    height, width = x.shape[-2:]
    video = rearrange(x, "(b t) c h w -> b c t h w", t=frames).contiguous()
    tokens = rearrange(group_norm(layer.norm, video), "b c t h w -> (b h w) t c").contiguous()
    tokens = _project(layer.proj_in, tokens, layer.use_linear)
    for block in layer.transformer_blocks:
        tokens = _transformer_block(block, tokens, None)
    tokens = _project(layer.proj_out, tokens, layer.use_linear)
    out = rearrange(tokens, "(b h w) t c -> b c t h w", h=height, w=width).contiguous()
    return rearrange(video + out, "b c t h w -> (b t) c h w").contiguous()


def _project(projection: Any, tokens: Tensor, use_linear: bool) -> Tensor:
    if use_linear:
        return projection(tokens)
    return projection(tokens.transpose(1, 2)).transpose(1, 2)  # a Conv1d over [N, C, T]


def _transformer_block(block: TransformerBlock | Any, x: Tensor, context: Tensor | None) -> Tensor:
    x = x + _attention(block.attn1, block.norm1(x), None)
    x = x + _attention(block.attn2, block.norm2(x), context)
    return x + _feed_forward(block.ff, block.norm3(x))


def _attention(layer: Attention, x: Tensor, context: Tensor | None) -> Tensor:
    context = x if context is None else context
    d = layer.head_channels
    q, k, v = (
        rearrange(tokens, "n l (h d) -> (n h) l d", d=d).contiguous()
        for tokens in (layer.to_q(x), layer.to_k(context), layer.to_v(context))
    )
    attended = materialized_attention(q, k, v)
    return layer.to_out(rearrange(attended, "(n h) l d -> n l (h d)", n=len(x)))


def materialized_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute softmax(q k^T / sqrt(d)) v on 3-D tensors `[N, tokens, d]`."""
    count = max(1, MAX_MATRIX // (q.shape[1] * k.shape[1] * q.element_size()))
    if len(q) <= count:
        return _attend(q, k, v)
    parts = zip(q.split(count), k.split(count), v.split(count), strict=True)
    return torch.cat([_attend(*part) for part in parts])


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("nid,njd->nij", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("nij,njd->nid", scores.softmax(dim=-1), v)


def _feed_forward(layer: Any, x: Tensor) -> Tensor:
    geglu, _, out = layer.net
    value, gate = geglu.proj(x).chunk(2, dim=-1)
    return out(value * F.gelu(gate))


# --- VAE ------------------------------------------------------------------------------------------


def plain_decode(vae: Any, latents: Tensor) -> Tensor:
    """Decode latents `[B, C, T, h, w]` to frames `[B, 3, T, 8h, 8w]`, one frame at a time."""
    frames = rearrange(latents / vae.config["scaling_factor"], "b c t h w -> (b t) c h w")
    decoded = [_decode_frame(vae, frame[None]) for frame in frames.to(vae.dtype)]
    return rearrange(torch.cat(decoded), "(b t) c h w -> b c t h w", b=len(latents))


def _decode_frame(vae: Any, z: Tensor) -> Tensor:
    decoder = vae.decoder
    x = plain_conv2d(decoder.conv_in, vae.post_quant_conv(z))
    before, after = decoder.mid_block.resnets
    x = _vae_res_block(before, x)
    for attention in decoder.mid_block.attentions:
        x = x if attention is None else _vae_attention(attention, x)
    x = _vae_res_block(after, x)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = _vae_res_block(resnet, x)
        for upsampler in block.upsamplers or []:
            x = plain_conv2d(upsampler.conv, F.interpolate(x, scale_factor=2.0, mode="nearest"))
    return plain_conv2d(decoder.conv_out, F.silu(group_norm(decoder.conv_norm_out, x)))


def _vae_res_block(block: Any, x: Tensor) -> Tensor:
    h = plain_conv2d(block.conv1, F.silu(group_norm(block.norm1, x)))
    h = plain_conv2d(block.conv2, F.silu(group_norm(block.norm2, h)))
    return h + (x if block.conv_shortcut is None else block.conv_shortcut(x))


def _vae_attention(layer: Any, x: Tensor) -> Tensor:
    tokens = rearrange(group_norm(layer.group_norm, x), "n c h w -> n (h w) c")
    attended = materialized_attention(layer.to_q(tokens), layer.to_k(tokens), layer.to_v(tokens))
    out = layer.to_out[0](attended)
    return x + rearrange(out, "n (h w) c -> n c h w", h=x.shape[-2])
