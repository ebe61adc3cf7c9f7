"""LoRA fine-tuning at nano size: a style learned from some subjects, applied to unseen ones.

    python benchmarks/scripts/finetune_lora.py FOLDER -o benchmarks/results/finetune-lora

The style is a desert background. The clips show half of the pictures, with captions that name no
place; the prompts name the other half. `nano/readers/scene.py` reads the videos: with the trigger
word they must show a desert, without it a plain background, and always the picture and direction of
the prompt.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from recording import write_results

from hummingbird_core.lora import load_lora, merge_lora
from hummingbird_core.nano.evaluate import Accuracy
from hummingbird_core.nano.readers.scene import read_scene
from hummingbird_core.nano.world.captions import Mention, Said
from hummingbird_core.nano.world.looks import PICTURES
from hummingbird_core.nano.world.paths import DIRECTIONS, NANO_FPS
from hummingbird_core.nano.world.scene import random_scene
from hummingbird_core.pipeline import HummingbirdPipeline, to_uint8
from hummingbird_core.training.lora.finetune import LoRAFinetuneConfig, finetune_lora
from hummingbird_core.video import write_video

PLACE, TRIGGER = "desert", "zorblax"
SEEN, UNSEEN = list(PICTURES)[::2], list(PICTURES)[1::2]


def write_clips(folder: Path, count: int) -> None:
    """Write clips of the seen pictures in the style, with captions in text files."""
    folder.mkdir(parents=True)
    rng = random.Random(0)
    for number in range(count):
        picture, direction = rng.choice(SEEN), rng.choice(list(DIRECTIONS))
        scene = random_scene(rng, said=Said((Mention(picture, motion=direction),), PLACE))
        frames = to_uint8(scene.render()[None] * 2 - 1)[0]
        write_video(folder / f"{number:03}.mp4", frames, fps=scene.clip.fps)
        text = f"a {picture} moves {direction}"
        (folder / f"{number:03}.txt").write_text(text, encoding="utf-8")


def measure(pipe: HummingbirdPipeline, trigger: str, expected: str, seeds: int) -> dict[str, str]:
    """Shares of right pictures, directions and places for unseen pictures."""
    right, total = {"picture": 0, "direction": 0, "place": 0}, 0
    for picture in UNSEEN:
        for direction in DIRECTIONS:
            prompt = f"{trigger} a {picture} moves {direction}".strip()
            for frames in pipe([prompt] * seeds, seed=100 * total).frames:
                seen, total = read_scene(frames, NANO_FPS), total + 1
                right["place"] += seen.place == expected
                if seen.subjects:
                    right["picture"] += seen.subjects[0].look.name == picture
                    right["direction"] += seen.subjects[0].motion == direction
    return {name: str(Accuracy(n, total)) for name, n in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="new folder for clips and LoRA")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=5, help="videos of each prompt")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    write_clips(args.folder / "clips", args.clips)
    pipe = HummingbirdPipeline.from_pretrained("nano", device="cpu", dtype=torch.float32)
    settings = replace(
        LoRAFinetuneConfig.for_model(pipe.unet.config), trigger=TRIGGER, steps=args.steps
    )
    file = args.folder / "style.safetensors"
    began = time.perf_counter()
    finetune_lora(args.folder / "clips", pipe, file, settings)
    seconds = time.perf_counter() - began

    pipe = HummingbirdPipeline.from_pretrained("nano", device="cpu", dtype=torch.float32)
    cases = [("without the LoRA", "", "")]
    rows = [{"prompt": name, **measure(pipe, *case, args.seeds)} for name, *case in cases]
    merge_lora(pipe.unet, load_lora(file, pipe.unet))
    cases = [("with it, with the word", TRIGGER, PLACE), ("with it, without the word", "", "")]
    rows += [{"prompt": name, **measure(pipe, *case, args.seeds)} for name, *case in cases]
    record = {
        "command": shlex.join(["python", "benchmarks/scripts/finetune_lora.py", *sys.argv[1:]]),
        "clips": args.clips,
        "steps": args.steps,
        "seconds of training": round(seconds, 1),
        "torch": torch.__version__,
        "rows": rows,
    }
    write_results(args.output, record, rows)


if __name__ == "__main__":
    main()
