"""The quantizer of real files, on the scale of H.264."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from hummingbird_core.video import write_video
from hummingbird_core.video.quantizer import key_frame_quantizer

SOURCE = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=2")
X264_KEY_FRAMES = 3  # with a constant quantizer, x264 gives its key frames 3 less


def encode(path: Path, *options: str) -> Path:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *SOURCE, *options, str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.mark.parametrize("quantizer", [10, 26, 47])
def test_x264_with_a_constant_quantizer(tmp_path, quantizer):
    path = encode(tmp_path / "clip.mp4", "-c:v", "libx264", "-qp", str(quantizer))
    assert key_frame_quantizer(path) == quantizer - X264_KEY_FRAMES


def test_ten_bits_have_the_same_scale(tmp_path):
    """x264 chooses a little more or less for another depth; the shift alone would be 12."""
    clips = {
        pixels: encode(tmp_path / f"{pixels}.mp4", "-c:v", "libx264", "-pix_fmt", pixels)
        for pixels in ("yuv420p", "yuv420p10le")
    }
    eight, ten = (key_frame_quantizer(clip) for clip in clips.values())
    assert ten == pytest.approx(eight, abs=3)


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video"])
@pytest.mark.parametrize(("scale", "expected"), [(2, 19.4), (8, 31.4), (31, 43.1)])
def test_quantizers_of_mpeg_on_the_scale_of_h264(tmp_path, codec, scale, expected):
    """Expected are the values of 12 + 6 log2(q / 0.85), x264's own conversion."""
    path = encode(tmp_path / "clip.mkv", "-c:v", codec, "-qscale:v", str(scale))
    assert key_frame_quantizer(path) == pytest.approx(expected, abs=0.05)


def test_formats_that_do_not_give_it(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    write_video(tmp_path / "clip.webp", frames, 8)
    no_video = tmp_path / "text.mp4"
    no_video.write_text("no video")
    others = [encode(tmp_path / "clip.webm", "-c:v", "libvpx-vp9", "-t", "0.2"), no_video]
    for path in (tmp_path / "clip.webp", tmp_path / "missing.mp4", *others):
        assert key_frame_quantizer(path) is None, path.name
