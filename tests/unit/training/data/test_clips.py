"""Training data: which clip when, every kind of source, and how files become frames."""

from __future__ import annotations

import random
import tarfile

import numpy as np
import pytest
from PIL import Image
from support.source_files import shard_of
from support.training_clips import SMALL, UNICODE, add_clip, ffmpeg, fill_folder

from hummingbird_core.curation.measure import MeasureConfig
from hummingbird_core.curation.pipeline import curate, reselect
from hummingbird_core.curation.selection import Limit, Rule, SelectionConfig
from hummingbird_core.curation.source_video import SourceVideo
from hummingbird_core.curation.sources import list_sources
from hummingbird_core.errors import InputError
from hummingbird_core.training.data.clip_index import PICTURE_SUFFIXES, list_clips
from hummingbird_core.training.data.clip_order import (
    ClipConfig,
    Window,
    clip_index,
    draw_window,
    numbers_of_step,
)
from hummingbird_core.training.data.clip_reading import FrameConfig, fit, read_frames

# --- which clip when -----------------------------------------------------------------------------


def test_an_epoch_is_every_clip_once_in_another_order():
    epochs = [[clip_index(10 * e + i, 10, seed=1) for i in range(10)] for e in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert epochs[0] != [clip_index(i, 10, seed=2) for i in range(10)]


def test_processes_share_the_clips_of_a_step():
    parts = [numbers_of_step(7, 3, rank, 4) for rank in range(4)]
    assert [n for part in parts for n in part] == list(numbers_of_step(7, 12, 0, 1))


def test_windows_lie_inside_and_all_strides_come():
    settings = ClipConfig(num_frames=16)
    for available, longest in ((16, 1), (31, 2), (90, 5), (91, 6), (400, 6)):
        windows = [draw_window(available, 24.0, settings, random.Random(i)) for i in range(300)]
        assert all(w.start >= 0 and w.start + 15 * w.stride < available for w in windows)
        assert {w.stride for w in windows} == set(range(1, longest + 1))


def test_a_picture_is_a_window_of_one_frame():
    assert draw_window(1, 8.0, ClipConfig(num_frames=1), random.Random(0)).start == 0


@pytest.mark.parametrize(
    ("source", "available", "stride"), [(24, 400, 3), (30, 400, 4), (6, 400, 1), (24, 60, 2)]
)
def test_clips_can_be_taken_at_one_rate(source, available, stride):
    """The last video is too short for 26 frames at a stride of 3."""
    settings = ClipConfig(num_frames=26, fps=8)
    windows = [draw_window(available, source, settings, random.Random(i)) for i in range(50)]
    assert {window.stride for window in windows} == {stride}
    assert all(0 <= w.start < available - 25 * stride for w in windows)


@pytest.mark.parametrize(
    ("fps", "stride", "told"), [(24, 1, 24), (29.97, 4, 7), (25, 6, 4), (3, 6, 1)]
)
def test_the_model_is_told_whole_frames_a_second(fps, stride, told):
    assert Window(0, stride).fps(fps) == told


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClipConfig(num_frames=0),
        lambda: ClipConfig(max_stride=0),
        lambda: ClipConfig(caption_dropout=1.5),
        lambda: ClipConfig(fps=0.0),
        lambda: FrameConfig(height=20),
        lambda: FrameConfig(max_frames=0),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(InputError, match="expected"):
        make()


# --- where clips come from -----------------------------------------------------------------------


def test_captions_beside_the_clips(tmp_path):
    folder = fill_folder(tmp_path)
    captions = {clip.name: clip.caption for clip in list_clips(folder)}
    assert captions["clip 2.mp4"] == "bar 2"
    assert captions[f"tief/{UNICODE}"] == "gr\u00fcn"
    assert captions["odd.mp4"] == ""
    assert len(captions) == 12


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_folder_with_a_table(tmp_path, suffix):
    add_clip(tmp_path / "a b.mp4", caption="beside, not used")
    if suffix == ".csv":
        rows = 'file_name,text\na b.mp4,"one, two"\na b.mp4,again\n'
    else:
        rows = '{"file_name": "a b.mp4", "text": "one, two"}\n\n{"file_name": "a b.mp4"}\n'
    (tmp_path / f"metadata{suffix}").write_text(rows, encoding="utf-8")
    (clip,) = list_clips(tmp_path)
    assert (clip.name, clip.caption) == ("a b.mp4", "one, two")


@pytest.mark.parametrize("line", ["{", '"text"', '{"caption": "no path"}'])
def test_a_damaged_table_is_named(tmp_path, line):
    (tmp_path / "metadata.jsonl").write_text(line)
    with pytest.raises(InputError, match="metadata"):
        list_clips(tmp_path)


def test_shards_by_their_numbers(tmp_path):
    for shard in range(8, 11):
        with tarfile.open(tmp_path / f"clips-{shard:02}.tar", "w") as tar:
            tar.add(add_clip(tmp_path / "x.mp4", start=shard), "0001.mp4")
            tar.add(tmp_path / "x.txt", "0001.txt")
    clips = list_clips(tmp_path / "clips-{08..10}.tar")
    assert [clip.name for clip in clips] == [f"clips-{n}.tar/0001.mp4" for n in ("08", "09", "10")]
    assert {clip.caption for clip in clips} == {"a bar"}
    assert read_frames(clips[1], SMALL).pixels.shape == (20, 16, 24, 3)
    with pytest.raises(InputError, match="clips-11"):
        list_clips(tmp_path / "clips-{10..11}.tar")


class InlineEngine:
    """The stages of curation in this process."""

    def map(self, stage, items, on_worker_death):
        for item in items:
            yield item, stage(item)


def test_what_curate_made(tmp_path):
    pytest.importorskip("pyarrow", reason="needs the extra curate")
    from support.planted_defects import scene, write_clip

    for seed, frames in enumerate((18, 17, 10)):
        path = write_clip(tmp_path / "in" / f"{seed}.mp4", scene(seed, frames, 48, 64))
        path.with_suffix(".txt").write_text(f"scene {seed}")
    long_enough = SelectionConfig(rules={"num_frames": Rule(minimum=Limit(16))})
    output = tmp_path / "out"
    curate(list_sources(tmp_path / "in"), output, InlineEngine(), MeasureConfig(), long_enough)
    clips = list_clips(output)
    assert sorted(clip.caption for clip in clips) == ["scene 0", "scene 1"]
    assert sorted(len(read_frames(clip, SMALL).pixels) for clip in clips) == [17, 18]
    shards = {clip.caption for clip in list_clips(output / "shards")}
    assert shards == {"scene 0", "scene 1"}
    (output / "clips").rename(tmp_path / "clips")
    assert {clip.caption for clip in list_clips(output)} == shards
    (tmp_path / "clips").rename(output / "clips")
    reselect(output, SelectionConfig(rules={"num_frames": Rule(minimum=Limit(19))}))
    with pytest.raises(InputError, match="kept none"):
        list_clips(output)


# --- frames --------------------------------------------------------------------------------------


def test_frames_cover_the_size_and_are_cropped_in_the_middle():
    frame = np.zeros((100, 400, 3), np.uint8)
    frame[:, 125:275] = 200  # of 400 columns, 150 are wanted
    wide = fit(frame, FrameConfig(height=16, width=24))
    upright = fit(np.rot90(frame), FrameConfig(height=24, width=16))
    for inside in (wide[:, 1:-1], upright[1:-1]):
        assert np.abs(inside.astype(int) - 200).max() < 5
    assert fit(frame, FrameConfig(height=104, width=408)).shape == (104, 408, 3)


def test_a_variable_frame_rate_gives_the_stored_frames(tmp_path):
    add_clip(tmp_path / "steady.mp4", frames=30)
    keep = "select='lt(n,10)+not(mod(n,5))'"
    ffmpeg("-i", tmp_path / "steady.mp4", "-vf", keep, "-fps_mode", "vfr", tmp_path / "vfr.mp4")
    frames = read_frames(SourceVideo("vfr.mp4", str(tmp_path / "vfr.mp4")), SMALL)
    assert len(frames.pixels) == 14
    assert frames.fps < 12


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_picture_is_a_clip_of_one_frame(tmp_path, suffix):
    Image.new("RGB", (50, 40), (200, 30, 30)).save(tmp_path / f"red{suffix}")
    (clip,) = list_clips(tmp_path, suffixes=PICTURE_SUFFIXES)
    frames = read_frames(clip, SMALL)
    assert frames.pixels.shape == (1, 16, 24, 3)
    assert np.abs(frames.pixels.astype(int) - (200, 30, 30)).max() < 8


def test_transparent_parts_of_a_picture_are_white(tmp_path):
    Image.new("RGBA", (50, 40), (0, 0, 0, 0)).save(tmp_path / "none.png")
    frames = read_frames(SourceVideo("none.png", str(tmp_path / "none.png")), SMALL)
    assert (frames.pixels == 255).all()


@pytest.mark.parametrize("name", ["a.png", "a.mp4", "sub/a.tar"])
def test_what_is_not_there_is_named(tmp_path, name):
    clip = SourceVideo(name, str(tmp_path / name), offset=0 if name.endswith("tar") else None)
    with pytest.raises(InputError, match=rf"^{name} ") as caught:
        read_frames(clip, SMALL)
    assert "\n" not in str(caught.value)


def test_an_unreadable_clip_in_a_shard_is_named_once(tmp_path):
    (clip,) = list_sources(shard_of(tmp_path / "s.tar", {"clips/fox.mp4": "no video"}))
    with pytest.raises(InputError, match=r"^s\.tar/clips/fox\.mp4 (?!.*(fox|video)\.mp4)"):
        read_frames(clip, SMALL)
