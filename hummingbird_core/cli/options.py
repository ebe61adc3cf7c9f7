"""Options that more than one command has, and what they mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..generation.jobs import VideoConfig
from ..generation.model import ModelConfig

if TYPE_CHECKING:
    from ..engines.local import Engine


def add_settings(group: Any) -> None:
    """Options of `video_settings`."""
    default = VideoConfig("")
    group.add_argument("--width", type=int, help="pixels, a multiple of 8 (default: the model's)")
    group.add_argument("--height", type=int, help="pixels, a multiple of 8 (default: the model's)")
    for flag, name, kind, text in (
        ("--frames", "num_frames", int, "any number; 16 and 26 are the trained ones"),
        ("--steps", "num_inference_steps", int, "model calls, 1 to 50; more is slower and finer"),
        ("--fps", "fps", float, "frames per second"),
        ("--guidance", "guidance_scale", float, "how closely to follow the prompt; trained: 5-15"),
        ("--seed", "seed", int, "another seed, another video"),
    ):
        text += f" (default: {getattr(default, name)})"
        group.add_argument(flag, dest=name, type=kind, default=getattr(default, name), help=text)
    group.add_argument(
        "--context-length",
        metavar="FRAMES",
        type=int,
        help="of a long video, the model sees so many at once (default: 16, as it was trained)",
    )
    group.add_argument(
        "--context-overlap",
        metavar="FRAMES",
        type=int,
        help="that two such windows share at least (default: half, built-in model: three quarters)",
    )


def video_settings(args: argparse.Namespace, prompt: str | None) -> VideoConfig:
    """What was asked for, with `prompt`, which a file of prompts may still replace."""
    names = [name for name in VideoConfig.__dataclass_fields__ if name != "prompt"]
    return VideoConfig(prompt=prompt or "", **{name: getattr(args, name) for name in names})


def add_model(group: Any) -> None:
    """Options of `model_settings`."""
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
        help="a smaller decoder, faster and softer: 'nano' for the built-in model, a TAESD "
        "(file or diffusers folder), or what `train decoder` made",
    )
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps ... (default: the best there is)")
    group.add_argument(
        "--memory",
        choices=("bf16", "fp8", "ram", "disk"),
        help="need less: store the weights in bf16 or fp8 (a little other video), keep them in "
        "RAM (for a small GPU) or in a temporary file (for a CPU), from where they come layer by "
        "layer: the same video, later",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the U-Net first, on a GPU into CUDA graphs: takes a minute or more, so "
        "it is for many prompts; needs a C++ compiler",
    )
    group.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), help="default: by device")


def model_settings(args: argparse.Namespace) -> ModelConfig:
    """The model that was asked for; without --dtype, in that of the device it will run on."""
    return ModelConfig(
        model=args.model,
        loras=tuple(map(split_strength, args.lora)),
        tiny_vae=args.tiny_vae,
        device=args.device,
        dtype=args.dtype or _default_dtype(args),
        memory=args.memory,
        compile=args.compile,
    )


def _default_dtype(args: argparse.Namespace) -> str:
    from ..devices import best_device, check_device, default_dtype, short_name

    if args.memory == "disk":
        return "fp32"  # it computes on the CPU
    if args.device:
        return short_name(default_dtype(check_device(args.device)))
    if args.gpus_per_worker:  # of a cluster: this machine may have none
        return "fp16"
    return short_name(default_dtype(best_device()))


def split_strength(lora: str) -> tuple[Path, float]:
    """`FILE[:STRENGTH]`; what follows a Windows drive letter's colon is not a number."""
    path, _, strength = lora.rpartition(":")
    try:
        return (Path(path), float(strength)) if path else (Path(lora), 1.0)
    except ValueError:
        return Path(lora), 1.0


# engine, workers and GPUs of a worker, for `add_engine`, as `device_engine` has them
ENGINE_DEFAULTS = (None, "one for each GPU here, or one", "1, or 0 where there is no GPU here")


def add_engine(group: Any, engine: str | None, workers: str, gpus: str) -> None:
    """Options of `create_engine`; `engine`, `workers` and `gpus` say what the defaults are."""
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default=engine,
        help=f"processes of this machine, or Ray (default: {engine or 'this process alone'})",
    )
    group.add_argument("--workers", type=int, help=f"processes (default: {workers})")
    group.add_argument("--ray-address", help="of a cluster (default: this machine)")
    group.add_argument(
        "--gpus-per-worker",
        type=float,
        metavar="SHARE",
        help=f"for --engine ray (default: {gpus})",
    )


def create_engine(args: argparse.Namespace, workers: int, gpus: Sequence[str] = ()) -> Engine:
    """The engine that was asked for.

    Args:
        args: with the options of `add_engine`.
        workers: the default number.
        gpus: of this machine, to be shared out among the workers; none: they need none.
    """
    from ..engines.local import LocalEngine
    from ..engines.ray import RayEngine

    workers = workers if args.workers is None else args.workers
    if workers < 1:
        raise InputError(f"got {workers} workers, expected at least 1")
    if args.engine == "ray":
        share = args.gpus_per_worker
        default_share = 1.0 if gpus else 0.0
        return RayEngine(workers, args.ray_address, default_share if share is None else share)
    return LocalEngine(workers, [gpus[i % len(gpus)] for i in range(workers)] if gpus else [])


def device_engine(args: argparse.Namespace) -> Engine:
    """The engine that was asked for, with a worker for each GPU of this machine, or a single one.

    A device that was named, such as "cuda:1", is the only one.
    """
    from ..devices import visible_gpus

    gpus = visible_gpus() if args.device in (None, "cuda") else []
    return create_engine(args, max(1, len(gpus)), gpus)
