"""`hummingbird generate`: prompts to video files."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..generation.jobs import (
    Job,
    VideoConfig,
    check,
    describe,
    file_name,
    read_prompt_file,
)
from ..generation.model import ModelConfig
from ..generation.run import make_missing
from ..video.files import SUFFIXES
from .enhance import check_requests, naming_options, tokenizer_of, warn
from .options import (
    ENGINE_DEFAULTS,
    add_engine,
    add_model,
    add_settings,
    device_engine,
    model_settings,
    video_settings,
)

EPILOG = """\
examples:
  one video with the built-in model, which knows ten things and coloured shapes that move:
    hummingbird generate "a red circle moves right" -o circle.mp4
  also a GIF, a contact sheet and the settings, beside the video:
    hummingbird generate "a blue square drifts up" -o square.mp4 --gif --contact-sheet --json
  a converted checkpoint with a style LoRA at half strength, on a GPU:
    hummingbird generate "a fox in the snow" -o fox.mp4 --model hummingbird-07b.safetensors
        --lora watercolour.safetensors:0.5 --steps 8 --frames 26 --device cuda --dtype fp16
  a long video, through windows of 16 frames that share 12; it takes the memory of one:
    hummingbird generate "a red circle moves right" -o long.mp4 --frames 128 --context-overlap 12
  a fuller prompt by the built-in expander, or by a chat model (`hummingbird enhance --help`):
    hummingbird generate "a fox in the snow" -o fox.mp4 --model hummingbird-07b.safetensors
        --enhance builtin
  many videos; run it again after a stop and it goes on where it was:
    hummingbird generate --prompts prompts.txt -o videos
  (a video belongs to its line: new prompts go at the end, or the lines below are made again)
  the same on all GPUs of this machine; a video that fails is named and stops no other:
    hummingbird generate --prompts prompts.txt -o videos --engine local
  on a Ray cluster of 16 GPUs, which sees the folder too:
    hummingbird generate --prompts prompts.txt -o /shared/videos --engine ray --ray-address auto
        --workers 16 --gpus-per-worker 1
  a prompt file with settings for each line (prompts.jsonl):
    {"prompt": "a red circle moves right", "seed": 1}
    {"prompt": "a green triangle falls", "num_inference_steps": 8, "num_frames": 26}

The settings are stored in the video itself too. The same settings give the same video.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird generate`."""
    parser.epilog = EPILOG
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("prompt", nargs="?", help="what to show")
    what.add_argument("--prompts", metavar="FILE", type=Path, help="one prompt a line, or .jsonl")
    _add_enhance(parser.add_argument_group("prompt"))
    add_settings(parser.add_argument_group("video"))
    add_model(parser.add_argument_group("model"))
    _add_output(parser.add_argument_group("output"))
    add_engine(parser.add_argument_group("many videos"), *ENGINE_DEFAULTS)


def _add_enhance(group: Any) -> None:
    group.add_argument(
        "--enhance",
        choices=("builtin", "local", "server"),
        help="make prompts better first; the original stays in the video's metadata",
    )
    group.add_argument("--enhance-model", metavar="MODEL", help="for local and server: which")
    group.add_argument("--enhance-url", metavar="URL", help="for server (default: local Ollama)")


def _add_output(group: Any) -> None:
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        help="FILE.mp4, .gif, .webp or .png (a folder of frames); with --prompts: a folder "
        "(default: video.mp4 or videos)",
    )
    group.add_argument("--format", choices=("mp4", "gif", "webp", "png"), help="with --prompts")
    group.add_argument("--gif", action="store_true", help="write a GIF, too")
    group.add_argument("--webp", action="store_true", help="write an animated WebP, too")
    group.add_argument("--png", action="store_true", help="write a folder of PNG frames, too")
    group.add_argument("--contact-sheet", action="store_true", help="write all frames in one PNG")
    group.add_argument("--json", action="store_true", help="write the settings as JSON, too")
    group.add_argument("--overwrite", action="store_true", help="replace files that are there")


def run(args: argparse.Namespace) -> int:
    """Make all videos that are not there yet; 2 if some failed."""
    if args.engine and args.prompts is None:
        raise InputError("--engine goes with --prompts: it is for many videos")
    journal = (args.output or Path("videos")) / "journal.jsonl"
    engine = device_engine(args) if args.engine else None
    model = model_settings(args)
    return make_missing(_plan(args, model), model, args.overwrite, engine, journal)


def _plan(args: argparse.Namespace, model: ModelConfig) -> list[Job]:
    settings = video_settings(args, args.prompt)
    if args.prompts is None:
        if args.format:
            raise InputError("--format goes with --prompts; for one video, -o names the format")
        requests = [(settings, args.output or Path("video.mp4"), "")]
    else:
        folder = args.output or Path("videos")
        if folder.suffix.lower() in SUFFIXES:
            raise InputError(f"got {folder} for many videos, expected a folder: -o videos")
        suffix = f".{args.format or 'mp4'}"
        requests = [
            (one, folder / f"{file_name(index, one.prompt)}{suffix}", origin)
            for index, (one, origin) in enumerate(read_prompt_file(args.prompts, settings), start=1)
        ]
    for one, _, origin in requests:
        check(one, origin)
    record = model.record()
    if args.enhance is None:
        return [_job(args, record, *request) for request in requests]
    return _enhanced_jobs(args, record, requests)


def _enhanced_jobs(
    args: argparse.Namespace,
    model: dict[str, Any],
    requests: list[tuple[VideoConfig, Path, str]],
) -> list[Job]:
    """Jobs with better prompts; a language model is gone again before the video model comes."""
    from ..prompts import create_enhancer
    from ..prompts.backends.openai import DEFAULT_URL

    tokenizer, url = tokenizer_of(args.model), args.enhance_url or DEFAULT_URL
    check_requests((settings, origin) for settings, _, origin in requests)
    jobs = []
    with (
        naming_options(args.enhance, "--enhance-"),
        create_enhancer(args.enhance, tokenizer, model=args.enhance_model, url=url) as enhancer,
    ):
        for settings, output, origin in requests:
            better = enhancer.enhance(settings.prompt, settings.seed)
            warn(better, f"{origin}: " if origin else "")
            settings = replace(settings, prompt=better.text)
            jobs.append(_job(args, {**model, **better.record()}, settings, output, origin))
    return jobs


def _job(
    args: argparse.Namespace,
    made_by: dict[str, Any],
    settings: VideoConfig,
    output: Path,
    origin: str,
) -> Job:
    wanted = [output.with_suffix(f".{kind}") for kind in ("gif", "webp", "png") if vars(args)[kind]]
    sheet = output.with_name(f"{output.stem}-contact-sheet.png")
    return Job(
        settings,
        describe(settings, **made_by),
        videos=tuple(dict.fromkeys([output, *wanted])),
        contact_sheet=sheet if args.contact_sheet else None,
        json=output.with_suffix(".json") if args.json else None,
        origin=origin,
    )
