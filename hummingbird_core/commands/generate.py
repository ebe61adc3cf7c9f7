"""`hummingbird generate`: prompts to video files."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import InputError
from ..video import atomic_output, write_contact_sheet, write_video
from .enhance import tokenizer_of, warn
from .interrupt import remembered_ctrl_c
from .jobs import Job, VideoSettings, describe, file_name, read_prompt_file

if TYPE_CHECKING:
    import numpy as np

    from ..pipeline import HummingbirdPipeline

logger = logging.getLogger(__name__)

EPILOG = """\
examples:
  one video with the built-in model, which knows moving coloured shapes:
    hummingbird generate "a red circle moves right" -o circle.mp4
  also a GIF, a contact sheet and the settings, beside the video:
    hummingbird generate "a blue square drifts up" -o square.mp4 --gif --contact-sheet --json
  a converted checkpoint with a style LoRA at half strength, on a GPU:
    hummingbird generate "a fox in the snow" -o fox.mp4 --model hummingbird-07b.safetensors
        --lora watercolour.safetensors:0.5 --steps 8 --frames 26 --device cuda --dtype fp16
  a fuller prompt by the built-in expander, or by a chat model (`hummingbird enhance --help`):
    hummingbird generate "a fox in the snow" -o fox.mp4 --model hummingbird-07b.safetensors
        --enhance builtin
  many videos; run it again after a stop and it goes on where it was:
    hummingbird generate --prompts prompts.txt -o videos
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
    _add_settings(parser.add_argument_group("video"))
    _add_model(parser.add_argument_group("model"))
    _add_output(parser.add_argument_group("output"))


def _add_enhance(group: Any) -> None:
    group.add_argument(
        "--enhance",
        choices=("builtin", "local", "server"),
        help="make prompts better first; the original stays in the video's metadata",
    )
    group.add_argument("--enhance-model", metavar="MODEL", help="for local and server: which")
    group.add_argument("--enhance-url", metavar="URL", help="for server (default: local Ollama)")


def _add_settings(group: Any) -> None:
    default = VideoSettings("")
    group.add_argument("--width", type=int, help="pixels, a multiple of 8 (default: the model's)")
    group.add_argument("--height", type=int, help="pixels, a multiple of 8 (default: the model's)")
    for flag, name, kind, text in (
        ("--frames", "num_frames", int, "number of frames; 16 and 26 are the trained ones"),
        ("--steps", "num_inference_steps", int, "model calls, 1 to 50; more is slower and finer"),
        ("--fps", "fps", int, "frames per second"),
        ("--guidance", "guidance_scale", float, "how closely to follow the prompt; trained: 5-15"),
        ("--seed", "seed", int, "another seed, another video"),
    ):
        text += f" (default: {getattr(default, name)})"
        group.add_argument(flag, dest=name, type=kind, default=getattr(default, name), help=text)


def _add_model(group: Any) -> None:
    group.add_argument(
        "--model", default="nano", help="a checkpoint file or folder (default: nano, built in)"
    )
    group.add_argument(
        "--lora", action="append", default=[], metavar="FILE[:STRENGTH]", help="may be repeated"
    )
    group.add_argument(
        "--tiny-vae",
        metavar="FILE",
        type=Path,
        help="a TAESD decoder (a file or diffusers folder): faster, a little less detail",
    )
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps ... (default: the best there is)")
    group.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), help="default: by device")


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


def run(args: argparse.Namespace) -> None:
    """Make all videos that are not there yet, after checking everything that can be checked."""
    jobs = _plan(args)
    for job in jobs:
        _check_settings(job)
        job.check_outputs(args.overwrite)
    todo = [job for job in jobs if args.overwrite or not job.is_done()]
    for job in jobs:
        if job not in todo:
            print(f"kept {job.outputs[0]}: it was made with the same settings")
    if todo:
        with remembered_ctrl_c() as interrupted:
            _make(todo, _load_pipeline(args), interrupted)


def _make(jobs: list[Job], pipe: HummingbirdPipeline, interrupted: Event) -> None:
    for number, job in enumerate(jobs, start=1):
        _write(job, _generate(pipe, job, f"{number}/{len(jobs)} " if len(jobs) > 1 else ""))
        for path in job.outputs:
            print(f"wrote {path}", flush=True)
        if interrupted.is_set():
            raise KeyboardInterrupt


def _plan(args: argparse.Namespace) -> list[Job]:
    names = VideoSettings.__dataclass_fields__
    settings = VideoSettings(**{name: getattr(args, name) for name in names})
    if args.prompts is None:
        if args.format:
            raise InputError("--format goes with --prompts; for one video, -o names the format")
        requests = [(settings, args.output or Path("video.mp4"), "")]
    else:
        folder = args.output or Path("videos")
        suffix = f".{args.format or 'mp4'}"
        requests = [
            (one, folder / f"{file_name(index, one.prompt)}{suffix}", origin)
            for index, (one, origin) in enumerate(read_prompt_file(args.prompts, settings), start=1)
        ]
    if args.enhance is None:
        return [_job(args, *request) for request in requests]
    return _enhanced_jobs(args, requests)


def _enhanced_jobs(
    args: argparse.Namespace, requests: list[tuple[VideoSettings, Path, str]]
) -> list[Job]:
    """Jobs with better prompts; a language model is gone again before the video model comes."""
    from ..prompts import create_enhancer
    from ..prompts.server import DEFAULT_URL

    tokenizer, url = tokenizer_of(args.model), args.enhance_url or DEFAULT_URL
    jobs = []
    with create_enhancer(args.enhance, tokenizer, model=args.enhance_model, url=url) as enhancer:
        for settings, output, origin in requests:
            better = enhancer.enhance(settings.prompt, settings.seed)
            warn(better, f"{origin}: " if origin else "")
            settings = replace(settings, prompt=better.text)
            jobs.append(_job(args, settings, output, origin, better.record()))
    return jobs


def _job(
    args: argparse.Namespace,
    settings: VideoSettings,
    output: Path,
    origin: str,
    origin_of_prompt: dict[str, Any] | None = None,
) -> Job:
    wanted = [output.with_suffix(f".{kind}") for kind in ("gif", "webp", "png") if vars(args)[kind]]
    sheet = output.with_name(f"{output.stem}-contact-sheet.png")
    loras = [_split_strength(lora) for lora in args.lora]
    record = describe(
        settings,
        # Names without folders: a shared video must not tell where its maker keeps files.
        model=Path(args.model).name,
        loras=[{"file": path.name, "strength": strength} for path, strength in loras],
        dtype=args.dtype,
        tiny_vae=args.tiny_vae and args.tiny_vae.name,
        **(origin_of_prompt or {}),
    )
    return Job(
        settings,
        record,
        videos=tuple(dict.fromkeys([output, *wanted])),
        contact_sheet=sheet if args.contact_sheet else None,
        json=output.with_suffix(".json") if args.json else None,
        origin=origin,
    )


def _split_strength(lora: str) -> tuple[Path, float]:
    """`FILE[:STRENGTH]`; what follows a Windows drive letter's colon is not a number."""
    path, _, strength = lora.rpartition(":")
    try:
        return (Path(path), float(strength)) if path else (Path(lora), 1.0)
    except ValueError:
        return Path(lora), 1.0


def _load_pipeline(args: argparse.Namespace) -> HummingbirdPipeline:
    from ..devices import DTYPES
    from ..lora import load_lora, merge_lora
    from ..pipeline import HummingbirdPipeline
    from ..vae import load_tiny_decoder

    pipe = HummingbirdPipeline.from_pretrained(
        args.model, device=args.device, dtype=DTYPES.get(args.dtype)
    )
    if args.tiny_vae:
        pipe.vae = load_tiny_decoder(args.tiny_vae).to(pipe.device, pipe.dtype)
    for path, strength in map(_split_strength, args.lora):
        lora = load_lora(path, pipe.unet)
        if lora.unused:
            first = ", ".join(list(lora.unused)[:3])
            logger.warning("%d parts of %s do not fit: %s", len(lora.unused), path, first)
        merge_lora(pipe.unet, lora, strength=strength)
    return pipe


def _check_settings(job: Job) -> None:
    from ..settings import check_settings

    settings = vars(job.settings).copy()
    try:
        check_settings([settings.pop("prompt")], **settings)
    except InputError as error:
        raise InputError(f"{job.origin}: {error}" if job.origin else str(error)) from error


def _generate(pipe: HummingbirdPipeline, job: Job, label: str) -> np.ndarray:
    """Frames uint8 [T,H,W,3], with a progress bar when someone is watching."""
    import numpy as np
    from tqdm import tqdm

    with tqdm(total=job.settings.num_inference_steps, disable=None, leave=False) as bar:

        def progress(done: int, total: int, text: str) -> None:
            bar.total, bar.n = total, done
            bar.set_description_str(f"{label}{text}")

        video = pipe(**vars(job.settings), progress=progress)
    return np.asarray(video.frames)[0]


def _write(job: Job, frames: np.ndarray) -> None:
    height, width = frames.shape[1:3]
    record = {**job.record, "width": width, "height": height, "hummingbird": __version__}
    for path in job.videos:
        write_video(path, frames, job.settings.fps, record)
    if job.contact_sheet:
        write_contact_sheet(job.contact_sheet, frames, metadata=record)
    if job.json:
        with atomic_output(job.json) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
