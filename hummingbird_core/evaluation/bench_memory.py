"""`hummingbird bench memory`: peak memory of every setting, against plain (table c)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..vae import decode_latents
from .bench_measure import Equality, Repeats
from .bench_models import (
    BenchSettings,
    load_fast_decoders,
    load_full_vae,
    load_unet,
    random_tensor,
    unet_inputs,
)
from .bench_peak import MIB, Peak, in_fresh_process, measure_peak
from .bench_report import Chart, Report, Row
from .plain_reference import PlainUNet, plain_decode

UNET_SETTINGS = ("plain", "ours")
# name -> frames at a time and side of a tile in latent pixels; None for whole frames.
VAE_SETTINGS: dict[str, tuple[int, int | None]] = {
    "ours, 16 frames at a time": (16, None),
    "ours, 4 frames at a time": (4, None),
    "ours, 1 frame at a time": (1, None),
}


def report(settings: BenchSettings, repeats: Repeats, command: str) -> Report:
    """Each setting once, in a process of its own; `repeats` does not matter."""
    unet = _rows("U-Net", unet_peak, UNET_SETTINGS, settings)
    vae = _rows("VAE decoder", vae_peak, ("plain", *VAE_SETTINGS), settings)
    rows = [*unet, *vae, *_fast_decoder_rows(settings)]
    return Report(
        name=f"memory-{settings.preset}-{settings.dtype}",
        title=f"{settings.preset}: peak memory, {settings.dtype}",
        command=command,
        settings=settings,
        rows=rows,
        notes=(
            "Share is the memory above the weights, relative to that of the plain reference. "
            "On a CPU, memory is the resident set of a fresh process, before it the program and "
            "the weights.",
        ),
        chart=Chart(
            "",
            "MiB above the weights",
            {"": [(f"{row['part']}, {row['setting']}", row["above MiB"]) for row in rows]},
        ),
    )


def _rows(
    part: str,
    peak_of: Callable[[str, BenchSettings], Peak],
    names: tuple[str, ...],
    settings: BenchSettings,
) -> list[Row]:
    """One row a setting; the first is what the others are compared with."""
    peaks = {name: in_fresh_process(peak_of, name, settings) for name in names}
    plain = peaks[names[0]]
    rows = []
    for name, peak in peaks.items():
        equality = Equality.of(names[0], plain.result, {name: peak.result}, settings.tolerance)
        rows.append(_row(part, name, peak, peak.above / plain.above, equality.distance))
    return rows


def _fast_decoder_rows(settings: BenchSettings) -> list[Row]:
    """Other networks than the full decoder, so there is nothing to be equal to."""
    peaks = {
        name: in_fresh_process(vae_peak, name, settings) for name in load_fast_decoders(settings)
    }
    return [_row("VAE decoder", name, peak, None, None) for name, peak in peaks.items()]


def _row(part: str, name: str, peak: Peak, share: float | None, equality: float | None) -> Row:
    return {
        "part": part,
        "setting": name,
        "before MiB": peak.before / MIB,
        "peak MiB": peak.peak / MIB,
        "above MiB": peak.above / MIB,
        "share": share,
        "equality": equality,
    }


def unet_peak(name: str, settings: BenchSettings) -> Peak:
    """One call of the U-Net, "plain" or "ours"."""
    unet = load_unet(settings)
    run: Any = unet if name == "ours" else PlainUNet(unet)
    tiny = replace(settings, batch=1, height=64, width=64, frames=(1,))
    warm_up = unet_inputs(tiny, unet)
    inputs = unet_inputs(settings, unet)
    measure_peak(lambda: run(**warm_up), settings.device)  # libraries take their share now
    return measure_peak(lambda: run(**inputs), settings.device)


def vae_peak(name: str, settings: BenchSettings) -> Peak:
    """One video decoded: "plain", one of VAE_SETTINGS, or a fast decoder's name."""
    full = name == "plain" or name in VAE_SETTINGS
    vae: Any = load_full_vae(settings) if full else load_fast_decoders(settings)[name]
    chunk_frames, tile = VAE_SETTINGS.get(name, (None, None))

    def decode(latents: Tensor) -> Tensor:
        if name == "plain":
            return plain_decode(vae, latents)
        return decode_latents(vae, latents, chunk_frames=chunk_frames, tile=tile)

    latents = random_tensor(settings, settings.latent_shape())
    measure_peak(lambda: decode(latents[:1, :, :1, :4, :4]), settings.device)
    return measure_peak(lambda: decode(latents), settings.device)
