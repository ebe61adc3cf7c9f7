"""In-process curation for tests, and good and hostile videos to curate."""

from __future__ import annotations

import re
import struct
import wave

import imageio_ffmpeg
import numpy as np
import pyarrow.parquet
from support.planted_defects import FPS, scene, write_clip

from hummingbird_core.curation.measure import MeasureConfig
from hummingbird_core.curation.pipeline import curate
from hummingbird_core.curation.selection import Limit, Rule, SelectionConfig
from hummingbird_core.curation.sources import list_sources

SMALL = {"frames": 18, "height": 48, "width": 64}
MEASURES = MeasureConfig(max_seconds=1.0)
KEEP_ALL = SelectionConfig(rules={"num_frames": Rule(minimum=Limit(16))})


class InlineEngine:
    """An engine that runs the stages in this process."""

    def map(self, stage, items, on_worker_death):
        """Yield each item with its result."""
        for item in items:
            yield item, stage(item)


def rows_of(output) -> list[dict]:
    """Read the rows of the manifest in `output`."""
    return pyarrow.parquet.read_table(output / "manifest.parquet").to_pylist()


def run(videos, output, engine=None, selection=KEEP_ALL, **more):
    """Curate `videos` with the tests' settings."""
    return curate(
        list_sources(videos), output, engine or InlineEngine(), MEASURES, selection, **more
    )


def add_video(path, frames, caption="", **encoder) -> None:
    """Write an mp4; `encoder` holds parameters for ffmpeg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if caption:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    if not encoder:
        write_clip(path, frames)
        return
    height, width = frames.shape[1:3]
    writer = imageio_ffmpeg.write_frames(
        path, (width, height), fps=FPS, macro_block_size=1, ffmpeg_log_level="quiet", **encoder
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()


def add_videos(folder):
    """Write eight videos with captions and an empty file; return the folder."""
    for seed in range(8):
        add_video(folder / f"{seed}.mp4", scene(seed, **SMALL), f"scene {seed}")
    (folder / "empty.mp4").write_bytes(b"")
    return folder


def colored(color: int, seed: int = 0) -> np.ndarray:
    """Render a moving scene in which one of red, green and blue is brightest."""
    frames = scene(seed, **SMALL) // 3
    frames[..., color] += np.uint8(120)
    return frames


def add_colored(folder, captions):
    """Write a red, a green and a blue video, as many as captions; return the folder."""
    for color, caption in enumerate(captions):
        add_video(folder / f"{color}.mp4", colored(color, color), caption)
    return folder


def curate_command(videos, output, folder, *more) -> list[str]:
    """Return the command `hummingbird curate` with what `run` selects by."""
    (folder / "rules.json").write_text(KEEP_ALL.to_json())
    command = ["curate", str(videos), "-o", str(output), "--max-seconds", "1"]
    return [*command, "--selection", str(folder / "rules.json"), *more]


def assert_same_results(output, expected) -> None:
    """Compare manifest, report and shards byte by byte."""
    for name in ("manifest.parquet", "report.html", "shards/clips-000000.tar"):
        assert _without_date(output / name) == _without_date(expected / name), name


def _without_date(path) -> bytes:
    """Return a file without the line with the date and the command of a report's run."""
    return re.sub(rb'<p id="run">.*?</p>', b"", path.read_bytes(), flags=re.DOTALL)


def rotate(path) -> None:
    """Write a rotation by 90 degrees into the track header (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def add_hostile(folder) -> dict[str, str]:
    """Write unusable files; return for each a word that the manifest's reason must contain."""
    good = write_clip(folder / "good.mp4", scene(1, **SMALL)).read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "truncated.mp4").write_bytes(good[: len(good) * 2 // 3])
    (folder / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n")
    (folder / "concat.mkv").write_text("ffconcat version 1.0\nfile good.mp4\n")
    with wave.open(str(folder / "audio.avi"), "wb") as audio:
        audio.setparams((1, 2, 8000, 0, "NONE", ""))
        audio.writeframes(bytes(8000))
    (folder / "-i -y 'quoted\" $(name).mp4").write_bytes(b"no video")
    (folder / "gone.mp4").write_bytes(b"x")
    return {
        "empty.mp4": "empty",
        "noise.mp4": "noise.mp4",
        "truncated.mp4": "truncated",
        "playlist.mp4": "playlist.mp4",
        "concat.mkv": "concat.mkv",
        "audio.avi": "audio.avi",
        "-i -y 'quoted\" $(name).mp4": "quoted",
        "gone.mp4": "gone.mp4",
    }
