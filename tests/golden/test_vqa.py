"""DOVER and DOVER-Mobile against the original: views, feature maps, scores, fusion."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from support.models import det, golden, manifest, relative_l2, rnd

from hummingbird_core.vqa import DOVER
from hummingbird_core.vqa.dover.model import fuse
from hummingbird_core.vqa.dover.views import (
    MEAN,
    STD,
    aesthetic_indices,
    dover_views,
    fragment_corners,
    technical_indices,
)

TOLERANCE = 1e-5  # relative L2; nothing is reordered
VIDEOS = {"A": (100, 320, 512), "B": (26, 180, 320)}  # frames, height, width
SLICE = (slice(None, None, 13), slice(None, None, 29), slice(None, None, 31))  # stored pixels


def synthetic_video(name: str) -> np.ndarray:
    """The videos that the golden views were made from, uint8 `[T, H, W, 3]`; see index.json."""
    size = VIDEOS[name]
    generator = np.random.Generator(np.random.Philox(zlib.crc32(b"input:dover_video")))
    noise = generator.integers(0, 64, size=(*size, 3))
    t, h, w, c = np.ogrid[: size[0], : size[1], : size[2], :3]
    return ((3 * t + 5 * h // 4 + 7 * w // 4 + 40 * c + noise) % 256).astype(np.uint8)


def golden_dover(name: str) -> DOVER:
    model = DOVER.from_preset(name)
    built = model.state_dict()  # integer buffers keep their constructed values
    weights = {
        key: det(key, shape) if dtype == "torch.float32" else built[key]
        for key, (shape, dtype) in manifest(name).items()
    }
    model.load_state_dict(weights, strict=True)
    return model.requires_grad_(False)


@pytest.mark.parametrize("name", VIDEOS)
def test_views_equal_the_original(name):
    expected = golden(f"m_dover_views_{name}")
    views = dover_views(synthetic_video(name), VIDEOS[name][0])
    for view in ("technical", "aesthetic"):
        got = views[view]  # [clips, 3, 32, 224, 224]
        assert relative_l2(got[(..., *SLICE)], expected[f"norm_{view}_slice"]) <= TOLERANCE
        pixels = got.transpose(0, 1).flatten(1, 2)  # [3, frames, 224, 224]
        scale = (3, 1, 1, 1)
        pixels = pixels * torch.tensor(STD).view(scale) + torch.tensor(MEAN).view(scale)
        assert relative_l2(pixels.mean((2, 3)), expected[f"{view}_frame_mean"]) <= TOLERANCE
        assert relative_l2(pixels[:, 0].mean(2), expected[f"{view}_row_stat"]) <= TOLERANCE


@pytest.mark.parametrize("name", VIDEOS)
def test_sampled_frames_equal_the_original(name):
    expected = golden(f"m_dover_views_{name}")
    assert technical_indices(VIDEOS[name][0]) == expected["frame_inds_technical"].tolist()
    assert aesthetic_indices(VIDEOS[name][0]) == expected["frame_inds_aesthetic"].tolist()


def test_fragments_are_drawn_as_in_the_original():
    expected = golden("m_dover_views_A")
    corners = fragment_corners(320, 512, torch.Generator().manual_seed(42))
    rows, columns = corners.permute(1, 2, 3, 0)  # [7, 7, clips] each
    assert torch.equal(rows[0], expected["randint_0"][0].long())
    assert torch.equal(columns[:, 0], expected["randint_1"][:, 0].long())


@pytest.mark.parametrize("name", ["dover", "dover-mobile"])
def test_score_maps_equal_the_original(name):
    """On 96 x 96 pixels, where windows are padded and, in the last stages, smaller than full."""
    expected = golden(f"m_{name.replace('-', '_')}_direct_0")
    x = rnd("input:dover_x", [1, 3, 16, 96, 96])
    maps = golden_dover(name).score_maps({"technical": x, "aesthetic": x})
    for view in maps:
        assert relative_l2(maps[view], expected[f"{view}_score"]) <= TOLERANCE


def test_score_maps_of_odd_sizes_equal_the_original():
    """Few frames, sides that no patch divides, stages with fewer tokens than fragments."""
    expected = golden("m_dover_direct_2")
    x = rnd("input:dover_x", [1, 3, 7, 70, 50])
    maps = golden_dover("dover").score_maps({"technical": x, "aesthetic": x})
    for view in maps:
        assert relative_l2(maps[view], expected[f"{view}_score"]) <= TOLERANCE


@pytest.mark.parametrize("name", [pytest.param("dover", marks=pytest.mark.slow), "dover-mobile"])
def test_scores_of_a_video_equal_the_original(name):
    expected = golden(f"m_{name.replace('-', '_')}_scores_A")
    score = golden_dover(name).score(iter(synthetic_video("A")), VIDEOS["A"][0])
    got = torch.tensor([score.aesthetic, score.technical, score.overall]) / 100
    assert relative_l2(got, expected["fused_set_aesthetic_technical_overall"]) <= TOLERANCE


@pytest.mark.parametrize("name", ["dover", "dover_mobile"])
def test_fusion_equals_the_original(name):
    expected = golden(f"m_{name}_scores_A")
    score = fuse(float(expected["technical"]), float(expected["aesthetic"]))
    assert score.overall / 100 == pytest.approx(float(expected["fused_one_video"]), rel=1e-9)
