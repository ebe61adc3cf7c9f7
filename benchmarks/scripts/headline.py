"""The headline, measured: a teacher's 50 guided steps against the student's few, prompt to mp4.

    python benchmarks/scripts/headline.py -o benchmarks/results/headline     an hour on two cores
    python benchmarks/scripts/headline.py --preset nano --dtype fp32 -o outputs/headline-nano

One run on one machine, at full size with random weights, which time does not depend on:
VideoCrafter2 with classifier-free guidance in every step, and the 0.7B with 8, 4, 2 and 1 steps and
each decoder. Then the parts of how the original computes ("plain": one call of its teacher, one
decoded frame), in fp32 and under autocast, so that "ours against the original" is a product of
measured figures.

Rows are written one by one to OUTPUT.rows.jsonl; the same command goes on after the last one. Rows
of other settings are refused.
"""

from __future__ import annotations

import argparse
import gc
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from recording import write_results

from hummingbird_core.bench.measure import TOTAL, Stopwatch
from hummingbird_core.bench.models import (
    BUILT_IN_PRESET,
    BenchConfig,
    load_fast_decoders,
    load_full_vae,
    load_pipeline,
    load_unet,
    random_tensor,
    unet_inputs,
)
from hummingbird_core.bench.plain_reference import PlainUNet, plain_decode
from hummingbird_core.bench.report import environment
from hummingbird_core.bench.speed import (
    STUDENT_GUIDANCE,
    TEACHER_GUIDANCE,
    AlwaysGuided,
    Candidate,
    prompt_to_file,
)
from hummingbird_core.pipeline import HummingbirdPipeline

FULL = "full decoder"
TEACHER = "teacher"
Row = dict[str, Any]


class Headline:
    """The rows of one configuration; models are loaded when a row needs them."""

    def __init__(self, config: BenchConfig):
        self.config = config

    def rows(self) -> Iterator[tuple[str, Callable[[], Row]]]:
        """Yield the name of each row and what measures it, the plain parts last."""
        config = self.config
        steps = config.teacher_steps
        yield f"{TEACHER}, {steps} steps, {FULL}", lambda: self.video(steps, FULL, teacher=True)
        for decoder in (FULL, *load_fast_decoders(config)):
            for steps in config.student_steps:
                yield (
                    f"student, {steps} steps, {decoder}",
                    lambda steps=steps, decoder=decoder: self.video(steps, decoder),
                )
        for dtype in dict.fromkeys((config.dtype, "fp32")):
            yield f"plain teacher call, {dtype}", lambda dtype=dtype: self.plain_call(dtype)
            yield f"plain decoded frame, {dtype}", lambda dtype=dtype: self.plain_frame(dtype)

    def video(self, steps: int, decoder: str, *, teacher: bool = False) -> Row:
        """Measure one video from prompt to mp4, after a warm-up of one frame."""
        pipe = load_pipeline(self.config, teacher=teacher)
        if decoder != FULL:
            pipe.vae = load_fast_decoders(self.config)[decoder]
        kind = AlwaysGuided if teacher else HummingbirdPipeline
        pipe = kind(pipe.unet, pipe.vae, pipe.text_encoder)
        guidance = TEACHER_GUIDANCE if teacher else STUDENT_GUIDANCE
        with tempfile.TemporaryDirectory() as folder:
            warm = Candidate("warm-up", pipe, 1, guidance)
            prompt_to_file(warm, self.config, 1, Path(folder))(Stopwatch(self.config.device))
            run = Candidate("video", pipe, steps, guidance)
            frames = self.config.frames[0]
            return self.timed(prompt_to_file(run, self.config, frames, Path(folder)))

    @torch.inference_mode()
    def plain_call(self, dtype: str) -> Row:
        """Measure one call of the teacher as the original computes it."""
        unet = load_unet(self.plain, teacher=True)
        inputs = unet_inputs(self.plain, unet)
        plain = PlainUNet(unet)
        with self.autocast(dtype):
            return self.timed(lambda watch: plain(**inputs))

    @torch.inference_mode()
    def plain_frame(self, dtype: str) -> Row:
        """Measure one frame as the original decodes it."""
        vae = load_full_vae(self.plain)
        latents = random_tensor(self.plain, self.plain.latent_shape(1))
        with self.autocast(dtype):
            return self.timed(lambda watch: plain_decode(vae, latents))

    @property
    def plain(self) -> BenchConfig:
        """The settings of the plain reference, whose weights stay in fp32."""
        return BenchConfig(**{**asdict(self.config), "dtype": "fp32"})

    def autocast(self, dtype: str) -> Any:
        if dtype == "fp32":
            return nullcontext()
        kind = torch.device(self.config.device).type
        return torch.autocast(kind, BenchConfig(dtype=dtype).torch_dtype)

    def timed(self, run: Callable[[Stopwatch], Any]) -> Row:
        watch = Stopwatch(self.config.device)
        with torch.inference_mode(), watch.part(TOTAL):
            run(watch)
        return {name: seconds.to_dict() for name, seconds in watch.parts.items()}


def measure(headline: Headline, file: Path) -> dict[str, Row]:
    """Measure the rows that `file` does not have yet, and return all.

    Raises:
        SystemExit: the file's rows were measured with other settings.
    """
    settings = json.loads(json.dumps(asdict(headline.config)))
    done = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        row = json.loads(line)
        if row["settings"] != settings:
            sys.exit(f"{file} holds rows of other settings: delete it, or choose another output")
        done[row["row"]] = row["seconds"]
    for name, run in headline.rows():
        if name in done:
            continue
        print(f"{time.strftime('%H:%M:%S')} {name} ...", file=sys.stderr, flush=True)
        done[name] = run()
        gc.collect()
        line = json.dumps({"row": name, "seconds": done[name], "settings": settings})
        with file.open("a", encoding="utf-8") as out:
            out.write(f"{line}\n")
    return done


def table(done: dict[str, Row], config: BenchConfig) -> list[Row]:
    """Return the rows of the result: measured videos, then the original's by its parts."""
    teacher = next(row for name, row in done.items() if name.startswith(TEACHER))
    originals = {
        dtype: original_seconds(done, dtype, teacher, config)
        for dtype in dict.fromkeys((config.dtype, "fp32"))
    }
    rows = []
    for name, row in done.items():
        if name.startswith("plain"):
            continue
        seconds = row[TOTAL]["wall"]
        against = {f"against plain {dtype}": originals[dtype] / seconds for dtype in originals}
        parts = {part: row[part]["wall"] for part in ("text", "unet", "decode", "save")}
        times = {"s": seconds, "CPU s": row[TOTAL]["cpu"], **parts}
        rows.append(
            {"video": name, **times, "against our teacher": teacher[TOTAL]["wall"] / seconds}
            | against
        )
    return rows


def original_seconds(done: dict[str, Row], dtype: str, teacher: Row, config: BenchConfig) -> float:
    """Return the time of the original's video: two plain calls a step, and plain frames."""
    call, frame = (
        done[f"plain {part}, {dtype}"][TOTAL]["wall"] for part in ("teacher call", "decoded frame")
    )
    rest = teacher["text"]["wall"] + teacher["save"]["wall"]
    return 2 * config.teacher_steps * call + config.frames[0] * frame + rest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="hummingbird-0.7b", help=f"or {BUILT_IN_PRESET}")
    parser.add_argument("--dtype", default="bf16", choices=("bf16", "fp16", "fp32"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--height", type=int, help="pixels (default: the model's)")
    parser.add_argument("--width", type=int, help="pixels (default: the model's)")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--teacher-steps", type=int, default=50)
    parser.add_argument("--student-steps", type=int, nargs="+", default=[8, 4, 2, 1])
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    config = BenchConfig(
        args.preset,
        args.height,
        args.width,
        (args.frames,),
        dtype=args.dtype,
        device=args.device,
        teacher_steps=args.teacher_steps,
        student_steps=tuple(args.student_steps),
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    done = measure(Headline(config), args.output.with_name(f"{args.output.name}.rows.jsonl"))
    result = {
        "command": shlex.join(["python", "benchmarks/scripts/headline.py", *sys.argv[1:]]),
        "settings": asdict(config),
        "environment": environment(config.device),
        "measured": done,
    }
    write_results(args.output, result, table(done, config))


if __name__ == "__main__":
    main()
