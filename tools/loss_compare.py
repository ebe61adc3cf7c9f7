"""Show that a refactor computes nothing new: record before, record after, compare bit by bit.

    .venv/bin/python tools/loss_compare.py record before.json
    ...                                                        # the refactor
    .venv/bin/python tools/loss_compare.py record after.json
    .venv/bin/python tools/loss_compare.py compare before.json after.json

A record holds the losses of twenty steps of every recipe and of a LoRA, hashes of the frames of
twelve prompts, the scores of six videos, and the manifest of a curated folder. Only the command
line is used, so the record does not depend on where code stands. Both records must come from one
machine with the same number of threads.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STEPS = 20
SUBJECTS = (
    "a red circle moves right",
    "a blue triangle drifts up",
    "a hummingbird flies up over a meadow",
    "a fox runs left at night",
    "a rocket moves up over the sea",
    "a green square goes down",
)
# The recipes for the full size, on the built-in teacher: small clips, and a reward without weights.
SMALL = {
    "training": {"steps": STEPS, "batch": 4, "precision": "fp32", "optimizer": "adamw"},
    "data": {"num_frames": 8, "height": 64, "width": 64},
    "validation": {"prompts": []},
}
SHAPES = {"kind": "shapes", "captions": "circle|square|triangle"}


def main() -> int:
    """Record, or compare two records; 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    record_parser = commands.add_parser("record", help="write a record")
    record_parser.add_argument("file", type=Path)
    record_parser.set_defaults(run=lambda args: write_record(args.file))
    compare_parser = commands.add_parser("compare", help="compare two records")
    compare_parser.add_argument("files", type=Path, nargs=2)
    compare_parser.set_defaults(run=lambda args: compare(*args.files))
    args = parser.parse_args()
    return args.run(args)


def write_record(file: Path) -> int:
    """Run everything in a temporary folder and write the results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = {
            "frames": frames(folder),
            "scores": scores(folder),
            "manifest": manifest(folder),
            "losses": losses(folder),
        }
    file.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def compare(before: Path, after: Path) -> int:
    """Print what differs between two records."""
    first, second = (json.loads(file.read_text()) for file in (before, after))
    differences = list(_differences(first, second, ""))
    sys.stdout.write("".join(f"{line}\n" for line in differences) or "equal in every bit\n")
    return 1 if differences else 0


def frames(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the pixels of twelve videos: both models, short, long, 26 frames."""
    from PIL import Image

    requests = [{"prompt": prompt, "seed": i} for i, prompt in enumerate(SUBJECTS)]
    requests += [
        {"prompt": SUBJECTS[0], "num_frames": 26, "fps": 16},
        {"prompt": SUBJECTS[2], "num_frames": 40},
        {"prompt": SUBJECTS[4], "num_inference_steps": 1},
        {"prompt": SUBJECTS[5], "guidance_scale": 1.0, "width": 96},
    ]
    teachers = [{"prompt": prompt, "num_inference_steps": 5} for prompt in SUBJECTS[:2]]
    hashes = {}
    for model, wanted in (("nano", requests), ("nano-teacher", teachers)):
        prompts = folder / f"{model}.jsonl"
        prompts.write_text("".join(json.dumps(request) + "\n" for request in wanted))
        options = ("--model", model, "--dtype", "fp32", "--device", "cpu", "--format", "png")
        hummingbird(folder, "generate", "--prompts", prompts.name, "-o", model, *options)
        for video in sorted(path for path in (folder / model).iterdir() if path.is_dir()):
            pixels = hashlib.sha256()
            for image in sorted(video.glob("*.png")):
                pixels.update(Image.open(image).tobytes())
            hashes[f"{model}/{video.name}"] = pixels.hexdigest()
    return hashes


def scores(folder: Path) -> list[dict[str, Any]]:
    """Return the measures of six videos."""
    (folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in SUBJECTS))
    hummingbird(folder, "generate", "--prompts", "prompts.txt", "-o", "clips", "--frames", "26")
    for number, (clip, prompt) in enumerate(zip(_clips(folder), SUBJECTS, strict=True)):
        clip.with_suffix(".txt").write_text(prompt)
        if number == 0:  # a near-duplicate
            (folder / "clips" / "copy.mp4").write_bytes(clip.read_bytes())
            (folder / "clips" / "copy.txt").write_text(prompt)
    files = [str(clip.relative_to(folder)) for clip in _clips(folder)]
    return json.loads(hummingbird(folder, "score", *files, "--json"))


def manifest(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a curated folder."""
    import pyarrow.parquet as parquet

    hummingbird(folder, "curate", "clips", "-o", "curated", "--captions", "builtin")
    rows = parquet.read_table(folder / "curated" / "manifest.parquet").to_pylist()
    return json.loads(json.dumps(rows, default=str).replace(str(folder), ""))


def losses(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the losses of twenty steps of every recipe."""
    train = ("train", "distil", "--teacher", "nano-teacher", "--data", "nano")
    few = ("--steps", str(STEPS), "--set", "validation.prompts=[]")
    hummingbird(folder, *train, "--student", "hummingbird-nano", *few, "-o", "nano-distil")
    student = ("--student", "nano-distil/student.safetensors")
    tune = ("train", "tune", *train[2:], *student)
    hummingbird(folder, *tune, *few, "-o", "nano-tune")
    recipe = _small_recipe(folder, "distil-0.7b")
    teacher_like = ("--student", "nano-teacher")
    hummingbird(folder, *train, *teacher_like, "--recipe", recipe, "-o", "distil-0.7b")
    recipe = _small_recipe(folder, "tune-0.7b")
    hummingbird(folder, *tune, "--recipe", recipe, "-o", "tune-0.7b")
    lora = ("--steps", str(STEPS), "--trigger", "wtrclr")
    hummingbird(folder, "train", "lora", "clips", "-o", "lora/style.safetensors", *lora)
    return {
        file.parent.relative_to(folder).as_posix(): _read_losses(file)
        for file in sorted(folder.rglob("*.losses.jsonl"))
    }


def _read_losses(file: Path) -> list[dict[str, Any]]:
    """Return the sum and its gradient's norm in each step; terms may change their names."""
    steps = map(json.loads, file.read_text().splitlines())
    return [{name: step[name] for name in ("step", "loss", "gradient_norm")} for step in steps]


def _small_recipe(folder: Path, name: str) -> str:
    import yaml

    recipe = yaml.safe_load(hummingbird(folder, "train", "recipe", name))
    for section, values in SMALL.items():
        recipe[section] = {**recipe.get(section, {}), **values}
    recipe["training"].pop("micro_batch", None)
    for setting in ("judge", "sampler"):
        recipe["validation"].pop(setting, None)
    recipe["data"].pop("max_stride", None)
    recipe["data"].pop("fps", None)
    for objective in recipe["objectives"].values():
        objective.pop("processes", None)
    if "rewards" in recipe["objectives"]:
        recipe["objectives"]["rewards"] = {"shapes": SHAPES}
    if "dynamic_rescale" in recipe["noise"]:
        recipe["noise"]["dynamic_rescale"] = False
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file.name


def hummingbird(folder: Path, *arguments: str) -> str:
    """Run a command of this checkout in `folder` and return its standard output."""
    command = [sys.executable, "-m", "hummingbird_core.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"`hummingbird {' '.join(arguments)}` ended with {done.returncode}")
    return done.stdout


def _clips(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "clips").glob("0*.mp4"))


def _differences(first: Any, second: Any, where: str) -> Any:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in {**first, **second}:
            yield from _differences(first.get(key), second.get(key), f"{where}/{key}")
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for index, pair in enumerate(zip(first, second, strict=True)):
            yield from _differences(*pair, f"{where}/{index}")
    elif first != second:
        yield f"{where}: {first} -> {second}"


if __name__ == "__main__":
    sys.exit(main())
