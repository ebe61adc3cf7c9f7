"""`hummingbird bench memory`: peak memory of every setting, against plain (table c)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..unet.model import HummingbirdUNet
from ..vae.codec import decode_latents
from .measure import Equality, Repeats, row_or_out_of_memory
from .models import (
    BenchConfig,
    load_fast_decoders,
    load_full_vae,
    load_unet,
    random_tensor,
    unet_inputs,
)
from .peak_memory import MIB, Peak, in_fresh_process, measure_peak
from .plain_reference import PlainUNet, plain_decode
from .report import BenchRow, Chart, Report

UNET_SETTINGS = ("plain", "ours")
TILED = "ours, 1 frame at a time in tiles of half its height"
VAE_SETTINGS = {  # name -> frames at a time
    "ours, 16 frames at a time": 16,
    "ours, 4 frames at a time": 4,
    "ours, 1 frame at a time": 1,
    TILED: 1,
}
ANY_DISTANCE = math.inf  # for tiles, whose norms and attention see one tile: reported, not checked


def report(settings: BenchConfig, repeats: Repeats, command: str) -> Report:
    """Measure each setting once in a fresh process; `repeats` is ignored."""
    unet = _rows("U-Net", unet_peak, UNET_SETTINGS, settings)
    vae = _rows("VAE decoder", vae_peak, ("plain", *VAE_SETTINGS), settings)
    rows = [*unet, *vae, *_fast_decoder_rows(settings)]
    return Report(
        name=settings.file_name("memory"),
        title=f"{settings.preset}: peak memory, {settings.dtype}",
        command=command,
        settings=settings,
        rows=rows,
        notes=(
            "Share is the memory above the weights, relative to that of the plain reference. "
            "On a CPU, memory is the resident set of a fresh process, before it the program and "
            "the weights. Tiles are not equal, only near: norms and attention see one.",
        ),
        chart=Chart(
            "",
            "MiB above the weights",
            {"": [_bar(row) for row in rows if "above MiB" in row]},
        ),
    )


def _bar(row: BenchRow) -> tuple[str, float]:
    return f"{row['part']}, {row['setting']}", row["above MiB"]


def _rows(
    part: str,
    peak_of: Callable[[str, BenchConfig], Peak],
    names: tuple[str, ...],
    settings: BenchConfig,
) -> list[BenchRow]:
    """Return one row per setting; the first is the reference of the others, if it fits."""
    peaks = _peaks(peak_of, names, settings)
    plain = peaks[names[0]]
    rows = []
    for name, peak in peaks.items():
        if peak is None or plain is None:
            rows.append(_row(part, name, peak))
            continue
        tolerance = ANY_DISTANCE if name == TILED else settings.tolerance
        equality = Equality.of(names[0], plain.result, {name: peak.result}, tolerance)
        share = peak.above / plain.above if plain.above else None  # a small model may take no page
        rows.append(_row(part, name, peak, share, equality.distance))
    return rows


def _peaks(
    peak_of: Callable[[str, BenchConfig], Peak], names: Iterable[str], settings: BenchConfig
) -> dict[str, Peak | None]:
    return {name: row_or_out_of_memory(in_fresh_process, peak_of, name, settings) for name in names}


def _fast_decoder_rows(settings: BenchConfig) -> list[BenchRow]:
    """Return rows of the fast decoders, which are different networks and have no equality."""
    peaks = _peaks(vae_peak, load_fast_decoders(settings), settings)
    return [_row("VAE decoder", name, peak) for name, peak in peaks.items()]


def _row(
    part: str,
    name: str,
    peak: Peak | None,
    share: float | None = None,
    equality: float | None = None,
) -> BenchRow:
    if peak is None:
        return {"part": part, "setting": name, "note": "does not fit"}
    return {
        "part": part,
        "setting": name,
        "before MiB": peak.before / MIB,
        "peak MiB": peak.peak / MIB,
        "above MiB": peak.above / MIB,
        "share": share,
        "equality": equality,
    }


def unet_peak(name: str, settings: BenchConfig) -> Peak:
    """Measure one call of the U-Net, "plain" or "ours"."""
    unet = load_unet(settings)
    return call_peak(unet if name == "ours" else PlainUNet(unet), unet, settings)


def call_peak(run: Callable[..., Tensor], unet: HummingbirdUNet, settings: BenchConfig) -> Peak:
    """Measure one call of `run`, a computation of `unet`."""
    tiny = replace(settings, batch=1, height=64, width=64, frames=(1,))
    warm_up = unet_inputs(tiny, unet)
    inputs = unet_inputs(settings, unet)
    measure_peak(lambda: run(**warm_up), settings.device)  # libraries allocate their buffers now
    return measure_peak(lambda: run(**inputs), settings.device)


def vae_peak(name: str, settings: BenchConfig) -> Peak:
    """Measure one decoded video: "plain", one of VAE_SETTINGS, or a fast decoder's name."""
    full = name == "plain" or name in VAE_SETTINGS
    vae: Any = load_full_vae(settings) if full else load_fast_decoders(settings)[name]
    decode_chunk_size = VAE_SETTINGS.get(name)
    tile = max(4, settings.latent_shape()[-2] // 2) if name == TILED else None

    def decode(latents: Tensor) -> Tensor:
        if name == "plain":
            return plain_decode(vae, latents)
        return decode_latents(vae, latents, decode_chunk_size=decode_chunk_size, tile=tile)

    latents = random_tensor(settings, settings.latent_shape())
    measure_peak(lambda: decode(latents[:1, :, :1, :4, :4]), settings.device)
    return measure_peak(lambda: decode(latents), settings.device)
