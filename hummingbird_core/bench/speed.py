"""`hummingbird bench speed`: the teacher's guided steps against the student's few (table a).

Teacher and student are different models with different videos. The check before a ratio is
reported: every timed run, split into its parts, equals the pipeline's video for the same settings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..pipeline import HummingbirdPipeline, to_uint8
from ..sampling.noise import initial_noise, step_noises
from ..settings import ModelDefaults
from ..video.files import write_video
from .measure import (
    Equality,
    Measurements,
    Repeats,
    Speedup,
    Stopwatch,
    Timing,
    Variant,
    measure_variants,
    row_without,
)
from .models import PROMPT, BenchConfig, load_fast_decoders, load_pipeline
from .report import BenchRow, Chart, Report

PUBLISHED_STEPS = 50  # published sampling steps of the teacher
TEACHER_GUIDANCE = 12.0  # published guidance scale of VideoCrafter2
STUDENT_GUIDANCE = 7.5
FAST_DECODER_STEPS = 4
VIDEO_FPS = 8
TIMED_PARTS = ("text", "unet", "decode", "save")


class AlwaysGuided(HummingbirdPipeline):
    """A pipeline that guides at every timestep, as published teachers do."""

    @property
    def trained(self) -> ModelDefaults:
        """Return the model's defaults with guidance at every timestep."""
        return replace(super().trained, cfg_start_timestep=0)


@dataclass(frozen=True)
class Candidate:
    """A model with its sampling settings."""

    name: str
    pipe: HummingbirdPipeline
    steps: int
    guidance: float


def report(settings: BenchConfig, repeats: Repeats, command: str) -> Report:
    """Measure all candidates for every number of frames in the settings."""
    rows = []
    candidates = _candidates(settings)
    for frames in settings.frames:
        rows += _measure(candidates, settings, frames, repeats)
    return Report(
        name=settings.file_name("speed"),
        title=f"{settings.preset}: from prompt to file, teacher against student",
        command=command,
        settings=settings,
        rows=rows,
        notes=(
            f"The teacher makes {_steps(settings.teacher_steps)} of DDIM with classifier-free "
            "guidance, two U-Net calls where it is guided. Parts are wall seconds. Equality is the "
            "distance of each timed video from the one that the pipeline gives for the same "
            "settings; the student's videos are not the teacher's.",
            *_note_of_fewer_steps(settings),
        ),
        chart=Chart(
            "",
            "seconds from prompt to file",
            {
                f"{frames} frames": [
                    (row["name"], row["wall"]["seconds"])
                    for row in rows
                    if row["frames"] == frames and "wall" in row
                ]
                for frames in settings.frames[:1]
            },
            logarithmic=True,
        ),
    )


def _note_of_fewer_steps(settings: BenchConfig) -> tuple[str, ...]:
    if settings.teacher_steps == PUBLISHED_STEPS:
        return ()
    return (
        f"The teacher is published with {PUBLISHED_STEPS} steps. Fewer were measured here, and "
        "every ratio is to those.",
    )


def _candidates(settings: BenchConfig) -> list[Candidate]:
    """Return the teacher, then the student with each number of steps and decoder."""
    teacher, student = (load_pipeline(settings, teacher=flag) for flag in (True, False))
    count = settings.teacher_steps
    name = f"teacher, {_steps(count)}"
    candidates = [Candidate(name, teacher, count, TEACHER_GUIDANCE)]
    if teacher.trained.cfg_start_timestep:
        always = AlwaysGuided(teacher.unet, teacher.vae, teacher.text_encoder)
        candidates.append(Candidate(f"{name}, always guided", always, count, TEACHER_GUIDANCE))
    for steps in settings.student_steps:
        candidates.append(_student(f"student, {_steps(steps)}", student, steps))
    for decoder, vae in load_fast_decoders(settings).items():
        quick = HummingbirdPipeline(student.unet, vae, student.text_encoder)
        name = f"student, {_steps(FAST_DECODER_STEPS)}, {decoder}"
        candidates.append(_student(name, quick, FAST_DECODER_STEPS))
    return candidates


def _student(name: str, pipe: HummingbirdPipeline, steps: int) -> Candidate:
    return Candidate(name, pipe, steps, STUDENT_GUIDANCE)


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"


def _measure(
    candidates: Sequence[Candidate], settings: BenchConfig, frames: int, repeats: Repeats
) -> list[BenchRow]:
    with tempfile.TemporaryDirectory() as folder:
        ways = [
            Variant(candidate.name, prompt_to_file(candidate, settings, frames, Path(folder)))
            for candidate in candidates
        ]
        measured = measure_variants(ways, repeats, settings.device)
    checks = {
        candidate.name: _check(candidate, settings, frames, measured.results[candidate.name])
        for candidate in candidates
        if candidate.name in measured.timings
    }
    teacher, names = candidates[0].name, [candidate.name for candidate in candidates]
    return [{"frames": frames, **_row(name, teacher, measured, checks)} for name in names]


def prompt_to_file(
    candidate: Candidate, settings: BenchConfig, frames: int, folder: Path
) -> Callable[[Stopwatch], Tensor]:
    """Return a run from prompt to file, equal to the pipeline's, with its parts timed.

    Args:
        candidate: what makes the videos.
        settings: size, batch and seed.
        frames: of a video.
        folder: where the run writes them.
    """
    pipe, shape = candidate.pipe, settings.latent_shape(frames)

    def run(watch: Stopwatch) -> Tensor:
        with watch.part("text"):
            text = pipe.encode_prompt([PROMPT] * settings.batch)
        with watch.part("unet"):
            latents = pipe.sample(
                text,
                latents=initial_noise(shape, settings.seed),
                noises=step_noises(shape, settings.seed),
                num_inference_steps=candidate.steps,
                guidance_scale=candidate.guidance,
                fps=VIDEO_FPS,
            )
        with watch.part("decode"):
            video = pipe.decode(latents)
        with watch.part("save"):
            frames = to_uint8(video)
            for index, clip in enumerate(frames):
                write_video(folder / f"{index}.mp4", clip, VIDEO_FPS)
        return torch.from_numpy(frames)

    return run


def _check(candidate: Candidate, settings: BenchConfig, frames: int, timed: Tensor) -> Equality:
    """Check that the timed video equals the pipeline's."""
    height, width = settings.size
    output = candidate.pipe(
        [PROMPT] * settings.batch,
        height=height,
        width=width,
        num_frames=frames,
        num_inference_steps=candidate.steps,
        guidance_scale=candidate.guidance,
        fps=VIDEO_FPS,
        seed=settings.seed,
    )
    expected = torch.from_numpy(output.frames).float()
    return Equality.of("the pipeline's own video", expected, {candidate.name: timed})


def _row(name: str, teacher: str, measured: Measurements, checks: dict[str, Equality]) -> BenchRow:
    missing = measured.missing(name, teacher)
    if missing:
        return row_without(name, teacher, missing)
    equality = checks[teacher].joined(checks[name])
    speedup = Speedup(measured.timings[teacher], measured.timings[name], equality)
    return {**speedup.to_dict(), **_parts(speedup.measured)}


def _parts(timing: Timing) -> dict[str, dict[str, float]]:
    return {"seconds of": {part: timing.parts[part].wall for part in TIMED_PARTS}}
