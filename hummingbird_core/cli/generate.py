"""`hummingbird generate`: generate video files from prompts."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..generation.jobs import (
    Job,
    VideoConfig,
    check_config,
    config_record,
    file_name,
    read_prompt_file,
)
from ..generation.run import VideoModel, generate_missing
from ..video.files import SUFFIXES
from .enhance import check_requests, naming_options, tokenizer_of, warn
from .options import (
    ENGINE_DEFAULTS,
    add_engine,
    add_model,
    add_runtime,
    add_settings,
    create_engine,
    device_engine,
    exported_model,
    model_settings,
    video_settings,
)

if TYPE_CHECKING:
    import numpy as np

    from ..engines.local import Engine
    from ..generation.best_of import BestOf
    from ..text.tokenizer import Tokenizer

EPILOG = """\
examples:
  one video with the built-in model, which knows ten objects and moving coloured shapes:
    hummingbird generate "a red circle moves right" -o circle.mp4
  with a GIF, a contact sheet and the settings as JSON:
    hummingbird generate "a blue square drifts up" -o square.mp4 --gif --contact-sheet --json
  a converted checkpoint with a style LoRA at half strength, on a GPU:
    hummingbird generate "a fox in the snow" -o fox.mp4 --model hummingbird-07b.safetensors
        --lora watercolour.safetensors:0.5 --steps 8 --frames 26 --device cuda --dtype fp16
  a long video in windows of 16 frames that overlap by 12, with the memory of a single window:
    hummingbird generate "a red circle moves right" -o long.mp4 --frames 128 --context-overlap 12
  a loop without a seam, for a motion that comes back, and one that goes there and back:
    hummingbird generate "a flag in the wind" -o flag.webp --loop
        --model hummingbird-07b.safetensors
    hummingbird generate "a red circle moves right" -o circle.gif --frames 30 --swing
  a prompt for each part of the video, from a frame or from a second on:
    hummingbird generate "0: a red circle moves right; 24: a blue square moves up" -o story.mp4
        --frames 48
    hummingbird generate "0s: a red circle moves right; 3s: a blue square moves up" -o story.mp4
        --frames 48
  the best of four seeds, by how well video and prompt agree; for other models, by a CLIP model:
    hummingbird generate "a small cat bobs at night" -o cat.mp4 --best-of 4
        --agreement nano-agreement
    hummingbird generate "a fox runs in the snow" -o fox.mp4 --model hummingbird-07b.safetensors
        --best-of 4 --agreement openai/clip-vit-base-patch32
  from an image, and from the last four frames of a video:
    hummingbird generate "a fox runs in the snow" -o fox.mp4 --model hummingbird-07b.safetensors
        --start-image fox.jpg
    hummingbird generate "a fox runs in the snow" -o more.mp4 --model hummingbird-07b.safetensors
        --start-image fox.mp4 --start-frames 4
  with the built-in prompt expander, or a chat model (`hummingbird enhance --help`):
    hummingbird generate "a fox in the snow" -o fox.mp4 --model hummingbird-07b.safetensors
        --enhance builtin
  many videos; the same command resumes after an interruption:
    hummingbird generate --prompts prompts.txt -o videos
  (videos are numbered by line: append new prompts, or all lines after them are generated again)
  on all GPUs of this machine; a failed video is reported and does not stop the others:
    hummingbird generate --prompts prompts.txt -o videos --engine local
  on a Ray cluster of 16 GPUs that shares the folder:
    hummingbird generate --prompts prompts.txt -o /shared/videos --engine ray --ray-address auto
        --workers 16 --gpus-per-worker 1
  without PyTorch, from a model that `hummingbird export` wrote:
    hummingbird generate "a red circle moves right" -o circle.webp --model nano-onnx --runtime onnx
  a prompt file with settings per line (prompts.jsonl):
    {"prompt": "a red circle moves right", "seed": 1}
    {"prompt": "a green triangle falls", "num_inference_steps": 8, "num_frames": 26}

The settings are stored in the video's metadata. The same settings give the same video.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird generate`."""
    parser.epilog = EPILOG
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("prompt", nargs="?", help="what to show")
    what.add_argument("--prompts", metavar="FILE", type=Path, help="one prompt per line, or .jsonl")
    _add_enhance(parser.add_argument_group("prompt"))
    video = parser.add_argument_group("video")
    add_settings(video)
    _add_start(video)
    _add_best_of(parser.add_argument_group("best of several seeds"))
    model = parser.add_argument_group("model")
    add_model(model)
    add_runtime(model)
    _add_output(parser.add_argument_group("output"))
    add_engine(parser.add_argument_group("many videos"), *ENGINE_DEFAULTS)


def _add_start(group: Any) -> None:
    group.add_argument(
        "--start-image",
        metavar="FILE",
        type=Path,
        help="first frame of the video: an image, or the last frame of a video; the models were "
        "not trained to continue it, so describe it in the prompt",
    )
    group.add_argument(
        "--start-frames",
        metavar="N",
        type=int,
        help="keep the last N frames of the video in --start-image (default: 1)",
    )


def _add_best_of(group: Any) -> None:
    group.add_argument(
        "--best-of",
        metavar="N",
        type=int,
        help="generate with N seeds, from --seed on, and keep the best: without --agreement the "
        "one with the fewest defects and the most even motion",
    )
    group.add_argument(
        "--agreement",
        metavar="MODEL",
        help="rank the seeds by how well video and prompt agree: a folder or downloaded hub id of "
        "a CLIP-class model, nano-agreement, which knows the built-in world, a file of "
        "`hummingbird train agreement`, or MODULE:FUNCTION",
    )


def _add_enhance(group: Any) -> None:
    group.add_argument(
        "--enhance",
        choices=("builtin", "local", "server"),
        help="enhance the prompts first; the original is kept in the video's metadata",
    )
    group.add_argument("--enhance-model", metavar="MODEL", help="language model, for local, server")
    group.add_argument(
        "--enhance-url", metavar="URL", help="URL of the server (default: local Ollama)"
    )


def _add_output(group: Any) -> None:
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        help="FILE.mp4, .gif, .webp or .png (a folder of frames); with --prompts, a folder "
        "(default: video.mp4 or videos)",
    )
    group.add_argument("--format", choices=("mp4", "gif", "webp", "png"), help="for --prompts")
    group.add_argument("--gif", action="store_true", help="also write a GIF")
    group.add_argument("--webp", action="store_true", help="also write an animated WebP")
    group.add_argument("--png", action="store_true", help="also write a folder of PNG frames")
    group.add_argument(
        "--contact-sheet", action="store_true", help="also write all frames in one PNG"
    )
    group.add_argument("--json", action="store_true", help="also write the settings as JSON")
    group.add_argument("--overwrite", action="store_true", help="replace existing files")


@dataclass(frozen=True)
class _Extras:
    """Values that the jobs of a run share besides the options.

    Attributes:
        record: of the model and the start image, for the videos' metadata.
        start_image: first frames, uint8 `[K, H, W, 3]`, or None.
        best_of: how the best of several seeds is chosen, or None.
    """

    record: dict[str, Any]
    start_image: np.ndarray | None
    best_of: BestOf | None


def run(args: argparse.Namespace) -> int:
    """Generate all missing videos; return 2 if some failed."""
    if args.engine and args.prompts is None:
        raise InputError("--engine goes with --prompts: it is for many videos")
    journal = (args.output or Path("videos")) / "journal.jsonl"
    engine = _engine(args) if args.engine else None
    model = exported_model(args) if args.runtime else model_settings(args)
    return generate_missing(_plan(args, model), model, args.overwrite, engine, journal)


def _engine(args: argparse.Namespace) -> Engine:
    """Return the engine; a runtime uses all cores of a process, so there is one by default."""
    return create_engine(args, 1) if args.runtime else device_engine(args)


def _plan(args: argparse.Namespace, model: VideoModel) -> list[Job]:
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
        check_config(one, origin)
    start = _start_image(args)
    best_of = _best_of(args)
    chosen = best_of.record() if best_of else {}
    record = {**model.record(), **_start_record(args, start), **chosen}
    extras = _Extras(record, start, best_of)
    if args.enhance is None:
        return [_job(args, extras, *request) for request in requests]
    return _enhanced_jobs(args, extras, requests)


def _start_image(args: argparse.Namespace) -> np.ndarray | None:
    """Read the frames of --start-image, uint8 `[K, H, W, 3]`."""
    from ..video.last_frames import read_last_frames

    if args.start_image is None:
        if args.start_frames is not None:
            raise InputError("got --start-frames without --start-image, expected both: name a file")
        return None
    if args.runtime:
        raise InputError(
            "got --start-image with --runtime, expected one of them: exported models cannot encode "
            "images; leave out --runtime to use PyTorch"
        )
    count = 1 if args.start_frames is None else args.start_frames
    try:
        return read_last_frames(args.start_image, count)
    except InputError as error:
        raise InputError(f"--start-image: {error}") from error


def _best_of(args: argparse.Namespace) -> BestOf | None:
    """Return the settings of --best-of, after loading its model once, before the work."""
    if args.best_of is None:
        if args.agreement:
            raise InputError("got --agreement without --best-of N, expected both: give N seeds")
        return None
    from ..agreement.load import load_text_video
    from ..generation.best_of import BestOf

    if args.agreement:
        load_text_video(args.agreement)
    return BestOf(args.best_of, args.agreement or "")


def _start_record(args: argparse.Namespace, start: np.ndarray | None) -> dict[str, Any]:
    """Return the record of the start image: its name without folders, and a hash of its pixels."""
    if start is None:
        return {}
    digest = sha256(start.tobytes()).hexdigest()[:16]
    name = args.start_image.name
    return {"start_image": name, "start_frames": len(start), "start_image_sha256": digest}


def _enhanced_jobs(
    args: argparse.Namespace,
    extras: _Extras,
    requests: list[tuple[VideoConfig, Path, str]],
) -> list[Job]:
    """Return jobs with enhanced prompts; the language model is freed before they run."""
    from ..prompts import create_enhancer
    from ..prompts.backends.address import DEFAULT_URL

    tokenizer, url = _tokenizer(args), args.enhance_url or DEFAULT_URL
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
            of_one = replace(extras, record={**extras.record, **better.record()})
            jobs.append(_job(args, of_one, settings, output, origin))
    return jobs


def _tokenizer(args: argparse.Namespace) -> Tokenizer:
    from ..runtime.folder import load_tokenizer

    return load_tokenizer(Path(args.model)) if args.runtime else tokenizer_of(args.model)


def _job(
    args: argparse.Namespace,
    extras: _Extras,
    settings: VideoConfig,
    output: Path,
    origin: str,
) -> Job:
    wanted = [output.with_suffix(f".{kind}") for kind in ("gif", "webp", "png") if vars(args)[kind]]
    sheet = output.with_name(f"{output.stem}-contact-sheet.png")
    return Job(
        settings,
        config_record(settings, **extras.record),
        videos=tuple(dict.fromkeys([output, *wanted])),
        contact_sheet=sheet if args.contact_sheet else None,
        json=output.with_suffix(".json") if args.json else None,
        origin=origin,
        start_image=extras.start_image,
        best_of=extras.best_of,
    )
