"""The latent cache and the batches from it: broken videos, resume, limits, exact repetition."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest
import torch
from support.models import relative_l2
from support.training_clips import BROKEN, SMALL, add_clip, fill_folder

from hummingbird_core.checkpoints import load_checkpoint
from hummingbird_core.curation.source_video import SourceVideo
from hummingbird_core.engines.journal import read_journal
from hummingbird_core.errors import InputError, OutputError
from hummingbird_core.hub.local import resolve_model
from hummingbird_core.training.data.clip_index import list_clips
from hummingbird_core.training.data.clip_order import ClipConfig
from hummingbird_core.training.data.clip_reading import FrameConfig, read_frames, to_video
from hummingbird_core.training.data.clip_sources import CachedClips, Mixture, VideoClips, open_clips
from hummingbird_core.training.data.latent_cache import (
    JOURNAL,
    Share,
    cache_key,
    cache_latents,
    encode_share,
)
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.distillation.stage import open_data
from hummingbird_core.vae import encode_video

SHORT = ClipConfig(num_frames=4, seed=3)


@pytest.fixture(scope="module")
def vae():
    return load_checkpoint(resolve_model("nano"), dtype=torch.float32).vae


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return fill_folder(tmp_path_factory.mktemp("clips with spaces"))


# --- the cache -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cached(folder, vae, tmp_path_factory):
    return cache_latents(list_clips(folder), vae, tmp_path_factory.mktemp("cache"), SMALL)


def test_broken_videos_are_left_out_and_named(folder, cached, vae, tmp_path, caplog):
    assert set(cached.skipped) == BROKEN
    assert len(cached.clips) == 12 - len(BROKEN)
    assert all(reason.startswith(name) for name, reason in cached.skipped.items())
    with caplog.at_level(logging.WARNING):
        some = [clip for clip in list_clips(folder) if clip.name in BROKEN]
        cache_latents(some, vae, tmp_path, SMALL)
    (warning,) = caplog.messages
    assert warning.startswith("5 of 5 clips are left out: ")
    assert all(name in warning for name in BROKEN)


def test_latents_are_those_of_the_frames(folder, cached, vae):
    clip = next(clip for clip in cached.clips if clip.name == "clip 1.mp4")
    assert (clip.num_frames, clip.fps, clip.caption) == (20, 12, "bar 1")
    assert clip.size == (48, 36)
    mean, std = clip.read(2, 14, 3)
    frames = read_frames(SourceVideo(clip.name, str(folder / clip.name)), SMALL)
    with torch.no_grad():
        expected = encode_video(vae, to_video(frames.pixels)[None, :, 2:15:3], sample=False)[0]
    assert mean.shape == std.shape == (4, 5, 2, 3)
    assert relative_l2(mean, expected) < 1e-3  # stored as fp16
    assert 0.001 < std.mean() < 0.2


def test_a_second_run_encodes_only_what_is_missing(folder, vae, tmp_path):
    videos = list_clips(folder)
    first = cache_latents(videos[:6], vae, tmp_path, SMALL)
    kept, *_, gone = first.clips
    gone.path.unlink()
    kept.path.write_bytes(b"not touched again")
    second = cache_latents(videos, vae, tmp_path, SMALL)
    assert kept.path.read_bytes() == b"not touched again"
    assert gone.path.is_file()
    assert [clip.name for clip in second.clips] == [v.name for v in videos if v.name not in BROKEN]
    with pytest.raises(InputError, match="delete"):
        kept.read(0, 3, 1)
    assert not [*tmp_path.rglob(".*"), *tmp_path.rglob("running.lock")]


def test_the_same_pixels_are_encoded_once_and_a_changed_file_again(vae, tmp_path):
    videos = tmp_path / "videos"
    first = add_clip(videos / "a.mp4", caption="one")
    (videos / "b.mp4").write_bytes(first.read_bytes())
    (videos / "b.txt").write_text("two")
    one, two = cache_latents(list_clips(videos), vae, tmp_path / "cache", SMALL).clips
    assert one.path == two.path
    assert (one.caption, two.caption) == ("one", "two")
    add_clip(videos / "b.mp4", caption="two", start=11)
    one, two = cache_latents(list_clips(videos), vae, tmp_path / "cache", SMALL).clips
    assert one.path != two.path


def test_another_size_or_vae_is_another_cache(vae, tmp_path):
    add_clip(tmp_path / "videos" / "a.mp4")
    videos, cache = list_clips(tmp_path / "videos"), tmp_path / "cache"
    sizes = (SMALL, FrameConfig(height=24, width=24, max_frames=40))
    for size in sizes:
        (clip,) = cache_latents(videos, vae, cache, size).clips
        assert clip.read(0, 0, 1)[0].shape[-2:] == (size.height // 8, size.width // 8)
    vae.encoder.conv_in.bias.data.add_(1)
    cache_latents(videos, vae, cache, SMALL)
    vae.encoder.conv_in.bias.data.sub_(1)
    assert len([*cache.iterdir()]) == 3


def test_the_cache_has_a_limit(folder, cached, vae, tmp_path):
    good = [clip for clip in list_clips(folder) if clip.name not in BROKEN]
    size = max(clip.path.stat().st_size for clip in cached.clips)
    some = cache_latents(good, vae, tmp_path, SMALL, max_gigabytes=2.5 * size / 1e9)
    assert 2 <= len(some.clips) < len(good)
    assert sum(f.stat().st_size for f in tmp_path.rglob("*.safetensors")) <= 2.5 * size
    assert all("max_gigabytes" in reason for reason in some.skipped.values())
    assert len(cache_latents(good, vae, tmp_path, SMALL).clips) == len(good)


def test_processes_share_the_work_and_get_the_same(folder, cached, vae, tmp_path):
    videos = list_clips(folder)
    place = tmp_path / cache_key(vae, SMALL)
    for process in range(3):
        encode_share(videos, vae, place, SMALL, Share(process, 3), 1.0)
    journals = [[*read_journal(place / f"process-{n}" / JOURNAL)] for n in range(3)]
    assert all(journals)
    assert sorted(key for one in journals for key, _ in one) == sorted(
        v.cache_key() for v in videos
    )
    together = cache_latents(videos, vae, tmp_path, SMALL)
    assert together.skipped == cached.skipped
    for mine, other in zip(together.clips, cached.clips, strict=True):
        assert (mine.name, mine.num_frames) == (other.name, other.num_frames)
        assert mine.path.read_bytes() == other.path.read_bytes()
    assert len([*read_journal(place / "process-0" / JOURNAL)]) == len(journals[0])  # all was there


def test_shares_of_a_full_cache_are_tried_again_by_whoever_has_room(folder, vae, tmp_path):
    good = [clip for clip in list_clips(folder) if clip.name not in BROKEN]
    place = tmp_path / cache_key(vae, SMALL)
    encode_share(good, vae, place, SMALL, Share(1, 2), max_gigabytes=0)
    for process in range(3):
        encode_share(good, vae, place, SMALL, Share(process, 3), max_gigabytes=1)
    assert not cache_latents(good, vae, tmp_path, SMALL).skipped


def test_a_cache_that_cannot_be_written_is_refused(folder, vae, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="cannot"):
        cache_latents(list_clips(folder), vae, tmp_path / "file", SMALL)


# --- batches -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(cached) -> CachedClips:
    return CachedClips.of(cached.clips, SHORT)


def test_short_clips_are_left_out_and_missing_captions_counted(cached, caplog):
    with caplog.at_level(logging.WARNING):
        usable = CachedClips.of(cached.clips, SHORT).clips
    assert len(usable) == 6
    assert "one frame.mp4 has 1 frames, expected at least 4" in caplog.text
    assert "1 of 6 clips have no caption" in caplog.text


def test_any_number_of_processes_sees_the_same_batch(clips):
    whole = clips.batch(5, size=4)
    parts = [clips.batch(5, size=2, rank=rank, world_size=2) for rank in range(2)]
    assert torch.equal(whole.latents, torch.cat([part.latents for part in parts]))
    assert whole.captions == parts[0].captions + parts[1].captions
    assert torch.equal(whole.fps, torch.cat([part.fps for part in parts]))
    assert torch.equal(whole.latents, clips.batch(5, size=4).latents)
    assert whole.latents.shape == (4, 4, 4, 2, 3)
    assert whole.latents.dtype == whole.fps.dtype == torch.float32


def test_an_epoch_has_every_caption_and_the_next_other_parts_of_the_clips(clips):
    first, second = clips.batch(0, size=6), clips.batch(1, size=6)
    expected = ["", "bar 0", "bar 1", "bar 2", "bar 3", "gr\u00fcn"]
    assert sorted(first.captions) == sorted(second.captions) == expected
    by_caption = [dict(zip(b.captions, b.latents, strict=True)) for b in (first, second)]
    assert not torch.equal(by_caption[0]["bar 1"], by_caption[1]["bar 1"])
    assert set(first.fps.tolist()) <= {12.0, 6.0, 4.0, 3.0, 2.0}


def test_captions_are_dropped_as_often_as_asked(cached):
    settings = ClipConfig(num_frames=4, caption_dropout=0.5)
    some = [clip for clip in cached.clips if clip.caption and clip.num_frames >= 4]
    clips = CachedClips.of(some, settings)
    captions = [c for step in range(40) for c in clips.batch(step, size=5).captions]
    assert 0.4 < Counter(captions)[""] / len(captions) < 0.6


def test_a_step_may_take_more_clips_than_there_are(clips):
    captions = clips.batch(0, size=9, rank=1, world_size=2).captions
    assert captions == clips.batch(0, size=18).captions[9:]
    assert set(Counter(clips.batch(0, size=18).captions).values()) == {3}


def test_limits_come_from_the_recipe(folder, vae, tmp_path):
    small = ["data.height=16", "data.width=24", "data.num_frames=4"]
    recipe = read_recipe("distil-0.7b", [*small, "data.max_frames=9"])
    clips = open_data(folder, vae, recipe, tmp_path)
    assert {clip.num_frames for clip in clips.clips} == {9}
    recipe = read_recipe("distil-0.7b", [*small, "data.max_gigabytes=1e-9"])
    with pytest.raises(InputError, match="without a usable clip"):
        open_data(folder, vae, recipe, tmp_path)


def test_nothing_usable(vae, tmp_path):
    add_clip(tmp_path / "videos" / "a.mp4", frames=3)
    with pytest.raises(InputError, match="without a usable clip"):
        open_clips(tmp_path / "videos", vae, tmp_path / "cache", SMALL, SHORT)
    with pytest.raises(InputError, match=r"raise data\.max_frames"):
        open_clips(tmp_path, vae, tmp_path / "cache", SMALL, ClipConfig(num_frames=41))


def test_videos_without_a_cache_give_the_same_clips(folder, vae, cached, clips):
    good = {clip.name for clip in clips.clips}
    videos = [video for video in list_clips(folder) if video.name in good]
    direct = VideoClips(videos, vae, SMALL, SHORT).batch(2, size=3)
    expected = clips.batch(2, size=3)
    assert direct.captions == expected.captions
    assert torch.equal(direct.fps, expected.fps)
    # Drawn from the same posterior, with a noise of another order.
    assert relative_l2(direct.latents, expected.latents) < 0.2


def test_in_place_of_a_broken_video_comes_another(folder, vae):
    source = VideoClips(list_clips(folder), vae, SMALL, SHORT)
    batches = [source.batch(step, size=4) for step in range(3)]
    assert set(source.skipped) >= BROKEN
    assert {batch.latents.shape for batch in batches} == {(4, 4, 4, 2, 3)}
    fresh = VideoClips(list_clips(folder), vae, SMALL, SHORT)
    assert torch.equal(fresh.batch(2, size=4).latents, batches[2].latents)
    nothing = [video for video in list_clips(folder) if video.name in BROKEN]
    with pytest.raises(InputError, match="none can be used"):
        VideoClips(nothing, vae, SMALL, SHORT).batch(0, size=1)


def test_a_mixture_takes_each_step_from_one_source(cached, clips):
    pictures = CachedClips.of(cached.clips, ClipConfig(num_frames=1))
    mixture = Mixture([(clips, 3.0), (pictures, 1.0)])
    lengths = [mixture.batch(step, size=1).latents.shape[2] for step in range(60)]
    assert set(lengths) == {4, 1}
    assert 35 <= lengths.count(4) <= 55
    halves = [mixture.batch(1, size=1, rank=r, world_size=2).latents for r in range(2)]
    assert torch.equal(mixture.batch(1, size=2).latents, torch.cat(halves))


def test_a_fault_of_the_machine_is_not_recorded_as_the_videos(vae, tmp_path, monkeypatch, caplog):
    for number in range(2):
        add_clip(tmp_path / "videos" / f"{number}.mp4")
    videos = list_clips(tmp_path / "videos")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "missing"))
    found = cache_latents(videos, vae, tmp_path / "cache", SMALL)
    assert (len(found.clips), len(found.skipped)) == (0, 2)
    assert "ffmpeg could not start" in caplog.text
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    assert len(cache_latents(videos, vae, tmp_path / "cache", SMALL).clips) == 2
