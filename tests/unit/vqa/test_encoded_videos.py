"""Weight-free measures of files: what an encoder does neither hides defects nor looks like one."""

from __future__ import annotations

import numpy as np
import pytest
from support.planted_defects import render, scene, with_bars, with_defect, write_clip

from hummingbird_core.vqa import find_defects, score_file


@pytest.mark.parametrize(
    ("crf", "seed"), [(10, 52), (10, 182), (10, 292), (23, 52), (30, 182), (35, 292)]
)
def test_a_freeze_is_found_however_it_was_encoded(tmp_path, crf, seed):
    """At crf 10 the encoder's changes once hid these three."""
    path = write_clip(tmp_path / "freeze.mp4", with_defect("freeze", seed), crf=crf)
    score = score_file(path)
    assert find_defects(score) == ["frozen"], score


def test_slow_motion_is_no_freeze(tmp_path):
    slow = render(1, 0.1 * np.arange(24), 240, 320)
    score = score_file(write_clip(tmp_path / "slow.mp4", slow, crf=23))
    assert score.longest_freeze < 0.1


def test_h264_that_is_starved_of_bits_has_lost_its_detail(tmp_path):
    score = score_file(write_clip(tmp_path / "starved.mp4", scene(1), crf=47))
    assert find_defects(score) == ["blurred"], score


def test_bars_are_found_however_they_were_encoded(tmp_path):
    clip = scene(1, 24)
    cases = ((30, 0, 23, 0.25), (0, 40, 23, 0.25), (20, 30, 23, 0.32), (20, 30, 35, 0.32))
    for rows, columns, crf, share in cases:
        path = write_clip(tmp_path / "bars.mp4", with_bars(clip, rows, columns), crf=crf)
        assert score_file(path).bars == pytest.approx(share, abs=0.04), (rows, columns, crf)


def test_ordinary_xvid_has_no_visible_blocks(tmp_path):
    clip = scene(3, 24)
    for quantizer, is_blocky in ((3, False), (6, False), (31, True)):
        path = write_clip(tmp_path / "xvid.mp4", clip, quantizer=quantizer)
        assert (find_defects(score_file(path)) == ["blocky"]) == is_blocky


@pytest.mark.parametrize("times", [2, 3, 4])
def test_repeated_frames_are_found_and_slow_motion_has_none(tmp_path, times):
    repeated = render(1, np.arange(32) // times * times, 120, 160)
    slow = render(1, np.arange(32) / times, 120, 160)
    found = [
        score_file(write_clip(tmp_path / f"{name}.mp4", clip, crf=23))
        for name, clip in (("repeated", repeated), ("slow", slow))
    ]
    assert found[0].repeated_fraction == pytest.approx(1 - 1 / times, abs=0.1)
    assert "repeated" in find_defects(found[0])
    assert found[1].repeated_fraction < 0.1
