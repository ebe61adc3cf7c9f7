"""`hummingbird bench decoders`: the full decoder against the small ones.

A small decoder is a different network: PSNR measures the distance of its frames from those of the
full one. The check before a ratio is reported: each decoder, run as in the pipeline, equals its own
layers run by diffusers frame by frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..sampling.noise import initial_noise, step_noises
from ..vae.codec import decode_latents
from ..vae.tiny import psnr
from .measure import (
    Equality,
    Measurements,
    Repeats,
    Speedup,
    Stopwatch,
    Variant,
    measure_variants,
    row_without,
)
from .models import (
    BUILT_IN_PRESET,
    PROMPT,
    BenchConfig,
    load_fast_decoders,
    load_full_vae,
    load_pipeline,
    random_tensor,
)
from .plain_reference import plain_decode
from .report import BenchRow, Chart, Report

PLAIN_DECODER, FULL_DECODER = "full decoder, plain", "full decoder"
ONE_BY_ONE = "its own layers, one frame after the other"


def report(settings: BenchConfig, repeats: Repeats, command: str) -> Report:
    """Compare all decoders on the latents of one video."""
    full: Any = load_full_vae(settings)
    small = load_fast_decoders(settings)
    latents = _latents(settings)
    ways = {PLAIN_DECODER: lambda watch: plain_decode(full, latents)}
    decoders = {FULL_DECODER: full} | small
    ways |= {name: _decode(vae, latents) for name, vae in decoders.items()}
    measured = measure_variants([Variant(*way) for way in ways.items()], repeats, settings.device)
    checks = {
        name: _check(name, vae, latents, measured, settings)
        for name, vae in ({PLAIN_DECODER: full} | decoders).items()
        if name in measured.timings
    }
    rows = [_row(name, measured, checks) for name in decoders]
    return Report(
        name=settings.file_name("decoders"),
        title=f"{settings.preset}: decoding {settings.frames[0]} frames, {settings.dtype}",
        command=command,
        settings=settings,
        rows=rows,
        notes=(
            "Plain decodes one frame at a time. Equality is the distance of a decoder's frames, "
            "and of plain's, from those that its own layers give one by one; PSNR is against the "
            "full decoder, and means nothing for random weights.",
        ),
        chart=Chart.bars("times faster than plain (CPU seconds)", rows, "cpu", "speedup"),
    )


def _latents(settings: BenchConfig) -> Tensor:
    """Return latents of a sampled video for a trained model, else noise."""
    if settings.preset != BUILT_IN_PRESET:
        return random_tensor(settings, settings.latent_shape())
    pipe = load_pipeline(settings)
    shape = settings.latent_shape()
    text = pipe.encode_prompt([PROMPT] * settings.batch)
    noise, noises = initial_noise(shape, settings.seed), step_noises(shape, settings.seed)
    return pipe.sample(text, latents=noise, noises=noises, num_inference_steps=4)


def _decode(vae: Any, latents: Tensor) -> Callable[[Stopwatch], Tensor]:
    return lambda watch: decode_latents(vae, latents)


@torch.inference_mode()
def _frame_by_frame(vae: Any, latents: Tensor) -> Tensor:
    scaled = (latents / vae.config["scaling_factor"]).to(vae.dtype)
    frames = [vae.decode(frame).sample for frame in scaled.unbind(dim=2)]
    return torch.stack(frames, dim=2).float().cpu()


def _check(
    name: str, vae: Any, latents: Tensor, measured: Measurements, settings: BenchConfig
) -> Equality:
    results = {name: measured.results[name]}
    return Equality.of(ONE_BY_ONE, _frame_by_frame(vae, latents), results, settings.tolerance)


def _row(name: str, measured: Measurements, checks: dict[str, Equality]) -> BenchRow:
    missing = measured.missing(name, PLAIN_DECODER)
    if missing:
        return row_without(name, PLAIN_DECODER, missing)
    equality = checks[PLAIN_DECODER].joined(checks[name])
    speedup = Speedup(measured.timings[PLAIN_DECODER], measured.timings[name], equality)
    full = measured.results.get(FULL_DECODER)
    quality = math.inf if full is None else psnr([(measured.results[name], full)])
    return {**speedup.to_dict(), "PSNR dB": quality if math.isfinite(quality) else None}
