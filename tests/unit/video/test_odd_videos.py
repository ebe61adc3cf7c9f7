"""Videos as people have them: pixels, rates, grays, names and texts of every kind."""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from hummingbird_core.curation.source_video import SourceVideo
from hummingbird_core.errors import InputError
from hummingbird_core.training.data.clip_reading import FrameConfig, read_frames
from hummingbird_core.video import read_metadata, read_video, write_video
from hummingbird_core.video.images import rgb_pixels
from hummingbird_core.video.metadata import recorded_fps
from hummingbird_core.video.reader import open_video

FRAMES = np.full((2, 16, 24, 3), 90, np.uint8)


def ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True)


def disc(path: Path, stored: tuple[int, int], *options: str) -> Path:
    """A white disc of 60 pixels, as a player shows it, in a file of another size."""
    inside = "geq=lum='if(lt(hypot(X-128,Y-72),30),235,40)':cb=128:cr=128"
    shown = f"color=gray:size=256x144:rate=25:duration=0.2,{inside}"
    scale = f"scale={stored[0]}:{stored[1]},setsar={256 * stored[1]}/{144 * stored[0]}"
    ffmpeg("-f", "lavfi", "-i", f"{shown},{scale}", *options, path)
    return path


def size_of_the_disc(path: Path) -> tuple[int, int]:
    rows, columns = np.nonzero(read_video(path).frames[0, :, :, 0] > 140)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize(
    ("name", "stored", "options"),
    [
        ("dvd.mpg", (180, 144), ("-c:v", "mpeg2video", "-q:v", "4")),
        ("hdv.mp4", (192, 144), ()),
        ("tall.mkv", (256, 72), ()),
        ("narrow.avi", (342, 144), ("-c:v", "mpeg4", "-q:v", "2")),
        ("square.mp4", (256, 144), ()),
    ],
)
def test_a_disc_is_round_whatever_the_pixels_are(tmp_path, name, stored, options):
    height, width = size_of_the_disc(disc(tmp_path / name, stored, *options))
    assert width == pytest.approx(height, abs=3)


def test_a_turned_video_with_other_pixels_is_upright_and_round(tmp_path):
    source = disc(tmp_path / "disc.mp4", (192, 144))
    ffmpeg("-display_rotation", "90", "-i", source, "-c", "copy", tmp_path / "turned.mp4")
    height, width = size_of_the_disc(tmp_path / "turned.mp4")
    assert width == pytest.approx(height, abs=3)
    with open_video(tmp_path / "turned.mp4") as video:
        assert video.height > video.width


def test_scaling_is_no_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        read_video(disc(tmp_path / "disc.mp4", (192, 144)))
    assert not caplog.records


def test_absurd_pixels_are_refused(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "color=size=32x32:duration=0.2,setsar=20/1", tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"a\.mp4 has pixels 20 times as wide"):
        read_video(tmp_path / "a.mp4")


def test_read_at_once_a_variable_rate_gives_the_stored_frames(tmp_path):
    source = "testsrc2=size=96x64:rate=25:duration=2,select='not(between(n,10,30))'"
    ffmpeg("-f", "lavfi", "-i", source, "-fps_mode", "vfr", tmp_path / "vfr.mp4")
    video = read_video(tmp_path / "vfr.mp4")
    assert (len(video.frames), video.fps) == (29, 14.5)


def test_a_playlist_is_never_opened(tmp_path):
    secret = write_video(tmp_path / "secret.mp4", FRAMES, 8)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {secret}\n")
    with pytest.raises(InputError):
        read_video(tmp_path / "list.mp4")


@pytest.mark.parametrize(
    "title",
    [
        "Duration: 00:01:39.00",
        "Duration: 99:99:99.99, Stream #0:0: Video: h264, rgb24, 8x8, 1 fps",
        "a\nStream #0:0: Video: h264, rgb24, 8x8, 1 fps, 1 tbr",
        "rotate : 90",
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_title_is_no_header(tmp_path, title, suffix):
    path = tmp_path / f"a{suffix}"
    source = ("-f", "lavfi", "-i", "testsrc2=size=32x16:rate=10:duration=1")
    tags = ("-metadata", f"title={title}", "-metadata:s:v", f"handler_name={title}")
    ffmpeg(*source, *tags, path)
    with open_video(path) as video:
        assert (video.fps, video.width, video.height) == (10, 32, 16)
        assert video.duration == pytest.approx(1, abs=0.1)
        assert len(list(video.frames)) == 10


def test_texts_in_other_encodings_do_no_harm(tmp_path):
    source = ("-f", "lavfi", "-i", "testsrc2=size=32x16:rate=10:duration=1")
    ffmpeg(*source, "-metadata", "title=XXXX", tmp_path / "a.mkv")
    data = (tmp_path / "a.mkv").read_bytes().replace(b"XXXX", "лиса".encode("cp1251"))
    (tmp_path / "a.mkv").write_bytes(data)
    assert len(read_video(tmp_path / "a.mkv").frames) == 10


@pytest.mark.parametrize(
    "name",
    ["2026-11-28T16:00:00.mp4", "file:a.mp4", "-o.mp4", "a%03d.mp4", "http:a.mp4", "a|b.mp4"],
)
def test_names_that_mean_something_to_ffmpeg(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(name, FRAMES, 8, {"prompt": "a: b"})
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(read_video(name).frames) == 2
    assert read_metadata(name)["prompt"] == "a: b"


@pytest.mark.parametrize("prompt", ["狐" * 10_000, "🦊" * 10_000, "half \ud83d a pair", "a\0b"])
@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_long_and_odd_prompts_come_back(tmp_path, prompt, suffix):
    path = write_video(tmp_path / f"a{suffix}", FRAMES, 8, {"prompt": prompt})
    assert read_metadata(path)["prompt"] == prompt


def test_settings_that_no_argument_holds_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"settings of 130,0\d\d bytes for an mp4"):
        write_video(tmp_path / "a.mp4", FRAMES, 8, {"prompt": "x" * 130_000})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [True, "8", None, 1e400, float("nan"), 0, -1, 10**400, [8]])
def test_a_rate_that_is_none_is_not_taken(fps):
    assert recorded_fps({"fps": fps}) is None


# pictures


def gray_16(values: list[int]) -> Image.Image:
    return Image.fromarray(np.array([values], np.uint16))


def test_sixteen_bits_become_eight():
    expected = [0, 60, 120, 180, 255]
    pixels = rgb_pixels(gray_16([0, 60 << 8, 120 << 8, 180 << 8, 65535]))
    assert pixels.shape == (1, 5, 3)
    assert pixels[0, :, 0].tolist() == pixels[0, :, 2].tolist() == expected
    wide = Image.fromarray(np.array([[0, 60 << 8, 65535]], np.int32))
    assert rgb_pixels(wide)[0, :, 1].tolist() == [0, 60, 255]


@pytest.mark.parametrize("values", [[[0, 70_000]], [[-1, 5]]])
def test_values_without_a_range_are_refused(values):
    with pytest.raises(InputError, match="32 bits"):
        rgb_pixels(Image.fromarray(np.array(values, np.int32)))
    with pytest.raises(InputError, match="32 bits"):
        rgb_pixels(Image.fromarray(np.array(values, np.float32)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB"])
def test_pictures_of_any_mode_are_rgb(mode):
    pixels = rgb_pixels(Image.new(mode, (3, 2)))
    assert (pixels.shape, pixels.dtype) == ((2, 3, 3), np.uint8)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_parts_are_white(mode):
    image = Image.new("RGBA", (3, 2)).convert(mode)
    image.putalpha(0)  # Pillow 11 loses it in the conversion to PA
    assert (rgb_pixels(image) == 255).all()


def test_folders_and_images_of_training_keep_16_bits(tmp_path):
    for index in range(3):
        gray = np.full((48, 64), index * 60 << 8, np.uint16)
        Image.fromarray(gray).save(tmp_path / f"{index:05d}.png")
    assert read_video(tmp_path).frames[:, 5, 5, 0].tolist() == [0, 60, 120]
    clip = SourceVideo("00001.png", str(tmp_path / "00001.png"))
    assert (read_frames(clip, FrameConfig(32, 32)).pixels == 60).all()


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + b"\xff" * 20])
def test_a_damaged_frame_is_named(tmp_path, data):
    write_video(tmp_path / "clip.png", FRAMES, 8)
    (tmp_path / "clip" / "00001.png").write_bytes(data)
    with pytest.raises(InputError, match=r"00001\.png cannot be read") as error:
        read_video(tmp_path / "clip")
    assert "\n" not in str(error.value)


def test_a_frame_that_claims_billions_of_pixels_is_named(tmp_path):
    path = write_video(tmp_path / "clip.png", FRAMES, 8) / "00001.png"
    data = bytearray(path.read_bytes())
    data[16:24] = b"\0\1\0\0" * 2  # 65536 x 65536
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"00001\.png|GiB"):
        read_video(tmp_path / "clip")


def test_a_comment_nested_too_deeply_is_text(tmp_path):
    comment = "[" * 5000
    Image.new("RGB", (8, 8)).save(tmp_path / "a.gif", comment=comment.encode())
    assert read_metadata(tmp_path / "a.gif") == {"comment": comment}
    assert json.dumps(read_metadata(tmp_path / "a.gif"))
