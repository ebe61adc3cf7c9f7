"""Options that several commands share, and the configs made from them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..generation.jobs import VideoConfig
from ..generation.model import ModelConfig
from ..runtime.base import RUNTIMES

if TYPE_CHECKING:
    from ..engines.local import Engine
    from ..generation.exported import ExportedModelConfig

FULL_DECODER = "full"  # the name of the model's own
BAKED_IN = ("lora", "decoder", "memory", "compile", "dtype")  # options that an export has decided


def add_settings(group: Any) -> None:
    """Add the options that `video_settings` reads."""
    group.add_argument("--width", type=int, help="pixels, a multiple of 8 (default: the model's)")
    group.add_argument("--height", type=int, help="pixels, a multiple of 8 (default: the model's)")
    for flag, name, kind, text in (
        ("--frames", "num_frames", int, "any number; trained: 16 and 26"),
        ("--steps", "num_inference_steps", int, "model calls, 1 to 50; more is slower and finer"),
        ("--fps", "fps", float, "frames per second"),
        ("--guidance", "guidance_scale", float, "guidance scale: prompt strength; trained: 5-15"),
        ("--seed", "seed", int, "seed of the noise"),
    ):
        default = getattr(VideoConfig, name)
        group.add_argument(flag, dest=name, type=kind, default=default, help=text)
    group.add_argument(
        "--context-length",
        metavar="FRAMES",
        type=int,
        help="window length for long videos (default: 16, as trained)",
    )
    group.add_argument(
        "--context-overlap",
        metavar="FRAMES",
        type=int,
        help="minimum overlap of two windows (default: half; built-in model: three quarters)",
    )
    loop = group.add_mutually_exclusive_group()
    loop.add_argument(
        "--loop",
        action="store_true",
        help="make the first frame follow the last one, for motions that come back",
    )
    loop.add_argument(
        "--swing",
        dest="loop",
        action="store_const",
        const="swing",
        help="a loop for all other motions: half of the frames, played there and back",
    )


def video_settings(args: argparse.Namespace, prompt: str | None) -> VideoConfig:
    """Return the video settings of `args`; a prompt file may replace `prompt` later."""
    names = [name for name in VideoConfig.__dataclass_fields__ if name != "prompt"]
    return VideoConfig(prompt=prompt or "", **{name: getattr(args, name) for name in names})


def add_model(group: Any) -> None:
    """Add the options that `model_settings` reads."""
    group.add_argument(
        "--model", default="nano", help="a checkpoint file or folder; nano is built in"
    )
    add_loras(group)
    add_decoder(group)
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps ... (default: the best available)")
    group.add_argument(
        "--memory",
        choices=("bf16", "fp8", "ram", "disk"),
        help="reduce memory: store weights as bf16 or fp8 (slightly different output), or stream "
        "them layer by layer from RAM (for a small GPU) or a temporary file on disk (for a CPU): "
        "identical output, slower",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="compile the U-Net with torch.compile, on a GPU into CUDA graphs: takes a minute or "
        "more, so use it for many prompts; needs a C++ compiler",
    )
    group.add_argument(
        "--dtype", choices=("fp32", "fp16", "bf16"), help="default: depends on --device"
    )


def add_loras(group: Any) -> None:
    """Add the option for LoRAs, see `split_strength`."""
    group.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="merge a LoRA; may be repeated",
    )


def add_decoder(group: Any) -> None:
    """Add the option for a smaller decoder; None is the model's own."""
    group.add_argument(
        "--decoder",
        metavar="NAME",
        type=decoder_path,
        help="full (default); faster and softer, for the built-in model middle or tiny, for others "
        "a TAESD (file or diffusers folder) or an output of `train decoder`",
    )


def decoder_path(name: str) -> Path | None:
    """Return name or path of a decoder, None for the full one."""
    return None if name == FULL_DECODER else Path(name)


def model_settings(args: argparse.Namespace) -> ModelConfig:
    """Return the model settings of `args`; the default dtype depends on the device."""
    return ModelConfig(
        model=args.model,
        loras=tuple(map(split_strength, args.lora)),
        decoder=args.decoder,
        device=args.device,
        dtype=args.dtype or _default_dtype(args),
        memory=args.memory,
        compile=args.compile,
    )


def _default_dtype(args: argparse.Namespace) -> str:
    from ..devices import best_device, check_device, default_dtype, short_name

    if args.memory == "disk":
        return "fp32"  # runs on the CPU
    if args.device:
        return short_name(default_dtype(check_device(args.device)))
    if args.gpus_per_worker:  # GPUs of a cluster: this machine may have none
        return "fp16"
    return short_name(default_dtype(best_device()))


def add_runtime(group: Any) -> None:
    """Add the option that `exported_model` reads, besides some of `add_model`."""
    group.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="run a model of `hummingbird export` without PyTorch; --model is its folder, and "
        "--device cpu (default), or for onnx cuda, migraphx, directml, coreml, qnn, webgpu, and "
        "for openvino gpu, npu, auto",
    )


def exported_model(args: argparse.Namespace) -> ExportedModelConfig:
    """Return the exported model that `args` selects.

    Raises:
        InputError: an option is given that only PyTorch has.
    """
    from ..generation.exported import ExportedModelConfig

    given = [f"--{name.replace('_', '-')}" for name in BAKED_IN if vars(args)[name]]
    if given:
        raise InputError(
            f"got {', '.join(given)} with --runtime {args.runtime}, expected none: give --lora, "
            "--decoder and --dtype to `hummingbird export`; --memory and --compile are PyTorch's"
        )
    return ExportedModelConfig(Path(args.model), args.runtime, args.device or "cpu")


def split_strength(lora: str) -> tuple[Path, float]:
    """Split `FILE[:STRENGTH]`; the strength is 1 if no number follows the last colon.

    On Windows, the colon may be that of a drive letter.
    """
    path, _, strength = lora.rpartition(":")
    try:
        return (Path(path), float(strength)) if path else (Path(lora), 1.0)
    except ValueError:
        return Path(lora), 1.0


# `engine`, `workers` and `gpus` of `add_engine`, describing the defaults of `device_engine`.
ENGINE_DEFAULTS = (None, "one per local GPU, at least one", "1, or 0 without a local GPU")


def add_engine(group: Any, engine: str | None, workers: str, gpus: str) -> None:
    """Add the options that `create_engine` reads.

    Args:
        group: the parser or argument group that gets them.
        engine: the default engine; None runs in this process alone.
        workers: describes the default number of workers.
        gpus: describes the default number of GPUs per worker.
    """
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default=engine,
        help="local processes, or Ray" + ("" if engine else " (default: this process alone)"),
    )
    group.add_argument("--workers", type=int, help=f"number of processes (default: {workers})")
    group.add_argument("--ray-address", help="address of a cluster (default: this machine)")
    group.add_argument(
        "--gpus-per-worker",
        type=float,
        metavar="SHARE",
        help=f"GPUs per process, for --engine ray (default: {gpus})",
    )


def create_engine(args: argparse.Namespace, workers: int, gpus: Sequence[str] = ()) -> Engine:
    """Return the engine that `args` selects.

    Args:
        args: parsed options of `add_engine`.
        workers: the default number of workers.
        gpus: names of local GPUs to distribute among the workers; empty if they need none.

    Raises:
        InputError: the number of workers is below 1.
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
    """Return the engine that `args` selects, with one worker per local GPU, at least one.

    A device named by --device, such as "cuda:1", is the only one used.
    """
    from ..devices import visible_gpus

    gpus = visible_gpus() if args.device in (None, "cuda") else []
    return create_engine(args, max(1, len(gpus)), gpus)
