"""`hummingbird train rank-blocks`: which blocks of a teacher a student can do without."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..pipeline import HummingbirdPipeline
    from ..training.data.batch import ClipBatch
    from ..training.pruning.analysis import Metric, Ranking
    from ..training.pruning.block_removal import Removal

EPILOG = """\
examples:
  hummingbird train rank-blocks nano-teacher -o runs/blocks
  hummingbird train rank-blocks videocrafter2.safetensors -o runs/vc2 --data curated --budget 0.67
  hummingbird train prune nano-teacher -o student.safetensors --map runs/blocks-map.json

Takes out one block at a time, trains nothing, and measures what is lost: the distance to the whole
teacher's predictions on some clips, and a metric of sampled videos (higher is better). Writes
NAME.json, NAME.md, NAME.png, and the map of the best student within the budget, NAME-map.json. Run
the same command again after a stop, or with another budget: nothing is measured twice.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train rank-blocks`."""
    parser.epilog = EPILOG
    parser.add_argument("teacher", help="a checkpoint with VAE and text encoder, or nano-teacher")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="NAME", help="of the files, no suffix"
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=0.55,
        metavar="SHARE",
        help="of the teacher's parameters that the student may have (default: 0.55)",
    )
    parser.add_argument("--clips", type=int, default=8, help="to measure the loss on (default: 8)")
    parser.add_argument("--frames", type=int, default=16, help="of clips and samples (default: 16)")
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help="clips with captions: a folder, table, shards, or what `hummingbird curate` made; or "
        "`nano`, the built-in model's world (nano's default)",
    )
    parser.add_argument(
        "--metric",
        help="nano (the nano family's default: what its videos show of captions), none (the "
        "default of others), or MODULE:FUNCTION of your own that turns a HummingbirdPipeline "
        "into a number",
    )
    parser.add_argument(
        "--prompts", type=int, default=12, help="for nano, of each kind (default: 12)"
    )
    parser.add_argument("--steps", type=int, default=10, help="for nano (default: 10)")
    parser.add_argument("--guidance", type=float, default=7.5, help="for nano (default: 7.5)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps ... (default: the best there is)")
    parser.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), help="default: by device")


def run(args: argparse.Namespace) -> None:
    """Measure, print the table, and write the files."""
    from ..devices import DTYPES
    from ..pipeline import HummingbirdPipeline
    from ..training.pruning.analysis import Ranking, all_removals, ask_teacher, propose

    if not 0 < args.budget < 1 or min(args.clips, args.frames, args.prompts) < 1:
        raise InputError(
            f"got budget {args.budget:g}, {args.clips} clips, {args.frames} frames and "
            f"{args.prompts} prompts, expected a budget between 0 and 1, and at least 1 of each"
        )
    dtype = DTYPES[args.dtype] if args.dtype else None
    pipe = HummingbirdPipeline.from_pretrained(args.teacher, device=args.device, dtype=dtype)
    ranking = Ranking(_named(args, ".json"), _settings(args, pipe))
    questions, metric = ask_teacher(pipe, _clips(args, pipe)), _metric(args, pipe)
    ranking.measure(pipe, all_removals(pipe.unet), questions, metric)
    maps = {"proposed map": propose(pipe.unet.config, ranking, args.budget)}
    maps |= _published(pipe, maps["proposed map"])
    ranking.measure(pipe, maps.values(), questions, metric)
    _report(args, pipe, ranking, maps)


def _settings(args: argparse.Namespace, pipe: HummingbirdPipeline) -> dict[str, Any]:
    """All that the measures depend on, but for the budget."""
    from ..files import sha256_of_file
    from ..model_files import find_model
    from ..training.pruning.analysis import TIMESTEPS

    path = find_model(args.teacher)
    return {
        "teacher": path.stem,
        "sha256": sha256_of_file(path) if path.is_file() else "",
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "clips": args.clips,
        "frames": args.frames,
        "timesteps": list(TIMESTEPS),
        "data": args.data,
        "metric": _metric_name(args, pipe),
        "prompts": args.prompts,
        "steps": args.steps,
        "guidance": args.guidance,
    }


def _is_nano(pipe: HummingbirdPipeline) -> bool:
    return "nano" in (pipe.unet.config.preset or "")


def _metric_name(args: argparse.Namespace, pipe: HummingbirdPipeline) -> str:
    return args.metric or ("nano" if _is_nano(pipe) else "none")


def _metric(args: argparse.Namespace, pipe: HummingbirdPipeline) -> Metric | None:
    from ..training.pruning.metrics import load_metric, nano_accuracy

    name = _metric_name(args, pipe)
    if name == "none":
        return None
    if name == "nano":
        return nano_accuracy(args.prompts, args.frames, args.steps, args.guidance)
    return load_metric(name)


def _clips(args: argparse.Namespace, pipe: HummingbirdPipeline) -> ClipBatch:
    from ..training.pruning.metrics import drawn_clips

    source = args.data or ("nano" if _is_nano(pipe) else None)
    if source is None:
        raise InputError("got no clips to measure on, expected captioned videos: give --data")
    if pipe.vae is None or pipe.text_encoder is None:
        raise InputError(
            f"got {args.teacher} without VAE or text encoder, expected a whole checkpoint: convert "
            "the original file, which holds all three"
        )
    if source == "nano":
        return drawn_clips(pipe, args.clips, args.frames)
    from ..training.data.clip_index import list_clips
    from ..training.data.clip_order import ClipSettings
    from ..training.data.clip_reading import FrameSettings
    from ..training.data.clip_sources import VideoClips

    frames = FrameSettings(pipe.trained.height, pipe.trained.width)
    videos = VideoClips(list_clips(source), pipe.vae, frames, ClipSettings(args.frames))
    return videos.batch(0, size=args.clips)


def _published(pipe: HummingbirdPipeline, proposed: Removal) -> dict[str, Removal]:
    """What the published student with as many blocks as the proposed one lacks."""
    from ..training.pruning.block_map import map_to, map_without, student_config
    from ..training.pruning.block_removal import removal_of_map

    config = pipe.unet.config
    if config.num_res_blocks > 2:
        return {}  # no student of such a teacher is published
    student = student_config(config, map_without(config, set(proposed.blocks)))
    return {"published map": removal_of_map(config, map_to(config, student))}


def _report(
    args: argparse.Namespace,
    pipe: HummingbirdPipeline,
    ranking: Ranking,
    maps: dict[str, Removal],
) -> None:
    from ..training.pruning.block_map import map_without
    from ..training.pruning.report import to_table, write_plot
    from ..video import atomic_output

    teacher = ranking.settings["teacher"]
    print(table := to_table(ranking, maps))
    lacks = {name: list(removal.blocks) for name, removal in maps.items()}
    ranking.save(budget=args.budget, maps=lacks)
    mapping = map_without(pipe.unet.config, set(maps["proposed map"].blocks))
    written = [args.output.with_name(args.output.name + "-map.json"), _named(args, ".md")]
    texts = [json.dumps(mapping, indent=1), f"{title(ranking.settings)}\n\n{table}"]
    for path, text in zip(written, texts, strict=True):
        with atomic_output(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    write_plot(_named(args, ".png"), ranking, f"{teacher}: what taking out blocks costs")
    for path in (_named(args, ".json"), *written, _named(args, ".png")):
        print(f"wrote {path}")


def title(settings: Mapping[str, Any]) -> str:
    """What was measured, in a sentence."""
    timesteps = ", ".join(map(str, settings["timesteps"]))
    text = (
        f"{settings['teacher']}: {settings['clips']} clips of {settings['frames']} frames at "
        f"t = {timesteps}"
    )
    if settings["metric"] == "nano":
        text += (
            f"; score: share of what {settings['prompts']} held-out prompts for shapes and as many "
            f"for pictures ask for that the videos show, {settings['steps']} steps, guidance "
            f"{settings['guidance']:g}"
        )
    elif settings["metric"] != "none":
        text += f"; score: {settings['metric']}"
    return text


def _named(args: argparse.Namespace, suffix: str) -> Path:
    """A dot in the name is no suffix to be replaced."""
    return args.output.with_name(args.output.name + suffix)
