"""`hummingbird bench modules`: our modules against the plain reference, same weights (table b).

In bfloat16 the plain reference keeps float32 weights under autocast, as the original does; both are
checked against the plain float32 result, and timed against it and each other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..unet.hooks import UNetHooks
from ..unet.layers import Conditioning, ResBlock, SpatialTransformer, TemporalTransformer
from ..unet.model import HummingbirdUNet
from ..unet.text import Text
from ..vae.codec import decode_latents
from .measure import EXACT, ROUNDED, Repeats, Variant, measure_variants
from .models import BenchConfig, load_full_vae, load_unet, random_tensor, unet_inputs
from .plain_reference import OURS, PLAIN, PlainUNet, plain_decode, run_layer
from .report import BenchRow, Chart, Report
from .roofline import count_gflop, gemm_peak

WHOLE = (UNET, DECODER) = "U-Net", "VAE decoder"
LAYERS = (ResBlock, SpatialTransformer, TemporalTransformer)


@dataclass(frozen=True)
class ModuleCase:
    """A module with its plain and our computation.

    Args:
        name: name of the module.
        plain: computes the plain reference in float32, or under autocast.
        ours: maps a dtype to a function that computes the module in that dtype.
    """

    name: str
    plain: Callable[[], Tensor]
    ours: Callable[[torch.dtype], Callable[[], Tensor]]


def report(settings: BenchConfig, repeats: Repeats, command: str) -> Report:
    """Measure the U-Net, its three kinds of layers at their largest, and the VAE decoder."""
    peak = gemm_peak(settings.torch_dtype, settings.device)
    rows: list[BenchRow] = [
        {"module": "GEMM", "name": f"{settings.dtype} peak", "GFLOP/s": peak, "peak share": 1.0}
    ]
    for case in _cases(settings):
        rows += [{"module": case.name, **row} for row in _measure(case, settings, repeats)]
        if case.name in WHOLE:
            _add_roofline(rows, case, f"{OURS} {settings.dtype}", peak)
    fastest = [row for row in rows if row["name"].startswith(OURS) and "cpu" in row]
    return Report(
        name=settings.file_name("modules"),
        title=f"{settings.preset}: our modules against the plain reference, {settings.dtype}",
        command=command,
        settings=settings,
        rows=rows,
        notes=(
            "Plain: text repeated for every frame, attention materialised on 3-D tensors, Conv3d, "
            "copies around temporal layers, norms in float32, one frame decoded at a time. "
            "Equality is the relative L2 distance of the outputs; cpu counts all cores. GFLOP/s "
            "count the products and convolutions of plain: Winograd's need fewer, so that a share "
            "of the peak of a matrix product may exceed what the processor does.",
        ),
        chart=Chart(
            "",
            "times faster than plain (CPU seconds)",
            {OURS: [(row["module"], row["cpu"]["speedup"]) for row in fastest]},
        ),
    )


def _measure(case: ModuleCase, settings: BenchConfig, repeats: Repeats) -> list[BenchRow]:
    """Compare ours with plain in the dtype, and both with plain in float32 if that differs."""
    plain, ours = f"{PLAIN} fp32", f"{OURS} fp32"
    ways = [_way(plain, case.plain), _way(ours, case.ours(torch.float32))]
    if settings.torch_dtype == torch.float32:
        return [measure_variants(ways, repeats, settings.device).row(ours, plain, tolerance=EXACT)]
    dtype, kind = settings.torch_dtype, torch.device(settings.device).type

    def autocast() -> Tensor:
        with torch.autocast(kind, dtype):
            return case.plain()

    plain_low, ours_low = f"{PLAIN} {settings.dtype}", f"{OURS} {settings.dtype}"
    ways = [ways[0], _way(plain_low, autocast), _way(ours_low, case.ours(dtype))]
    measured = measure_variants(ways, repeats, settings.device)
    pairs = ((ours_low, plain_low), (ours_low, plain), (plain_low, plain))
    return [measured.row(*pair, reference=plain, tolerance=ROUNDED) for pair in pairs]


def _add_roofline(rows: list[BenchRow], case: ModuleCase, name: str, peak: float) -> None:
    """Add the rate of a module, and its share of the peak, to the rows of that name."""
    gflop = count_gflop(case.plain)
    for row in rows:
        if (row["module"], row["name"]) == (case.name, name) and "wall" in row:
            row["GFLOP/s"] = gflop / row["wall"]["seconds"]
            row["peak share"] = row["GFLOP/s"] / peak


def _way(name: str, compute: Callable[[], Tensor]) -> Variant:
    return Variant(name, lambda watch: compute())


# --- modules --------------------------------------------------------------------------------------


def _cases(settings: BenchConfig) -> list[ModuleCase]:
    full = replace(settings, dtype="fp32")  # initial weights; `ours` casts a copy
    unet, vae = load_unet(full), load_full_vae(full)
    return [_unet_case(full, unet), *_layer_cases(full, unet), _vae_case(full, vae)]


def _unet_case(settings: BenchConfig, unet: HummingbirdUNet) -> ModuleCase:
    inputs = unet_inputs(settings, unet)

    def ours(dtype: torch.dtype) -> Callable[[], Tensor]:
        model, cast = _as(unet, dtype), _cast(inputs, dtype)
        return lambda: model(**cast)

    return ModuleCase(UNET, lambda: PlainUNet(unet)(**inputs), ours)


def _layer_cases(settings: BenchConfig, unet: HummingbirdUNet) -> list[ModuleCase]:
    """Return the layers of the first block with attention, which has the largest features."""
    config = unet.config
    level = config.attention_levels[0]
    block: Any = unet.input_blocks[1 + level * (config.num_res_blocks + 1)]
    width = config.channel_mult[level] * config.model_channels
    before = config.channel_mult[max(level - 1, 0)] * config.model_channels
    cases = []
    for layer in block:
        channels = before if isinstance(layer, ResBlock) else width
        cases.append(_layer_case(settings, unet, layer, channels, level))
    return cases


def _layer_case(
    settings: BenchConfig, unet: HummingbirdUNet, layer: Any, channels: int, level: int
) -> ModuleCase:
    batch, _, frames, height, width = settings.latent_shape()
    shape = (batch * frames, channels, height >> level, width >> level)
    x = random_tensor(settings, shape)
    embedding = random_tensor(settings, (batch, 1, 4 * unet.config.model_channels))
    context = random_tensor(settings, (batch, 77, unet.config.context_dim))

    def plain() -> Tensor:
        expanded = embedding.expand(-1, frames, -1).flatten(0, 1)  # [B*T, E]
        return run_layer(layer, x, expanded, context.repeat_interleave(frames, dim=0), frames)

    def ours(dtype: torch.dtype) -> Callable[[], Tensor]:
        model = _as(layer, dtype)
        cond = Conditioning(
            embedding.to(dtype), Text.of(context.to(dtype), None), frames, UNetHooks()
        )
        features = x.to(dtype).contiguous(memory_format=torch.channels_last)
        return lambda: model(features, cond)

    return ModuleCase(f"{type(layer).__name__}, {channels} channels", plain, ours)


def _vae_case(settings: BenchConfig, vae: Any) -> ModuleCase:
    latents = random_tensor(settings, settings.latent_shape())

    def ours(dtype: torch.dtype) -> Callable[[], Tensor]:
        model = _as(vae, dtype)
        return lambda: decode_latents(model, latents)

    return ModuleCase(DECODER, lambda: plain_decode(vae, latents), ours)


def _as(model: nn.Module, dtype: torch.dtype) -> Any:
    """Return the model itself, or a copy in another dtype."""
    return model if dtype == torch.float32 else copy.deepcopy(model).to(dtype)


def _cast(inputs: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    return {
        name: value.to(dtype) if isinstance(value, Tensor) else value
        for name, value in inputs.items()
    }
