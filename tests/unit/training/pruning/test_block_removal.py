"""Which blocks can be taken out of a U-Net, and what is left of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hummingbird_core.training.pruning.block_map import map_to, prune, pruning_map
from hummingbird_core.training.pruning.block_removal import (
    Removal,
    level_of,
    removal_of_map,
    removals,
    without,
)
from hummingbird_core.training.pruning.report import short_block_names
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.weights.state_dict import count_parameters

NANO_TEACHER = UNetConfig.from_preset("nano-teacher")
TINY = replace(
    NANO_TEACHER, channel_mult=(1, 2), attention_levels=(0,), head_channels=16, context_dim=16
)


def names(unet: HummingbirdUNet, kind: str) -> list[str]:
    return [short_block_names(removal.blocks) for removal in removals(unet) if removal.kind == kind]


@pytest.fixture(scope="module")
def teacher() -> HummingbirdUNet:
    torch.manual_seed(0)
    return HummingbirdUNet(TINY).eval().requires_grad_(False)


def test_what_can_be_taken_out_of_the_full_size_teacher():
    """One block of a level each way; none that changes the width, or the size of the picture."""
    unet = HummingbirdUNet(UNetConfig.from_preset("videocrafter2"), device="meta")
    assert names(unet, "pair") == [
        *("in 1, out 10", "in 1, out 11", "in 2, out 10", "in 2, out 11"),
        "in 5, out 7",
        *("in 8, out 3", "in 8, out 4"),
        *("in 10, out 0", "in 10, out 1", "in 11, out 0", "in 11, out 1"),
    ]
    downwards, upwards = [1, 2, 5, 8, 10, 11], [0, 1, 2, 3, 4, 5, 7, 8, 10, 11]
    assert names(unet, "bypass") == [
        *(f"in {i}" for i in downwards),
        "middle",
        *(f"out {i}" for i in upwards),
    ]
    assert names(unet, "level") == [
        *("in 1, in 2, out 10, out 11", "in 5, out 7, out 8", "in 8, out 3, out 4, out 5"),
        "in 10, in 11, out 0, out 1, out 2",
    ]
    assert names(unet, "lowest") == ["in 9, in 10, in 11, out 0, out 1, out 2, middle"]


def test_the_published_student_lacks_one_pair_of_every_level():
    config = UNetConfig.from_preset("videocrafter2")
    blocks = removal_of_map(config, pruning_map((1, 2, 4, 4))).blocks
    assert short_block_names(blocks) == "in 2, in 5, in 8, in 11, out 0, out 3, out 7, out 10"
    pairs = {frozenset(r.blocks) for r in removals(HummingbirdUNet(config, device="meta"))}
    levels = [level_of(config, block) for block in blocks]
    for level in range(4):
        pair = frozenset(b for b, here in zip(blocks, levels, strict=True) if here == level)
        assert pair in pairs


def test_every_removal_runs_and_shares_the_weights(teacher):
    sample, context = torch.randn(1, 4, 2, 4, 4), torch.randn(1, 77, 16)
    whole = teacher(sample, 500, context)
    found = removals(teacher)
    assert {removal.kind for removal in found} == {"pair", "bypass", "level"}
    own = {id(parameter) for parameter in teacher.parameters()}
    for removal in found:
        rest = without(teacher, removal)
        out = rest(sample, 500, context)
        assert out.shape == sample.shape
        assert not torch.allclose(out, whole), removal
        assert {id(parameter) for parameter in rest.parameters()} < own
        assert not rest.training
    assert torch.equal(teacher(sample, 500, context), whole)


def test_without_its_lowest_level_a_unet_is_one_of_fewer_levels():
    torch.manual_seed(0)
    teacher = HummingbirdUNet(NANO_TEACHER).eval().requires_grad_(False)
    upper = replace(NANO_TEACHER, channel_mult=(1, 2), middle_block=False)
    student = HummingbirdUNet(upper).eval().requires_grad_(False)
    prune(teacher, student, map_to(NANO_TEACHER, upper))
    lowest = next(r for r in removals(teacher) if r.kind == "lowest")
    sample, context = torch.randn(1, 4, 2, 4, 4), torch.randn(1, 77, NANO_TEACHER.context_dim)
    expected = student(sample, 500, context)
    torch.testing.assert_close(without(teacher, lowest)(sample, 500, context), expected)


def test_a_bypassed_upsampling_stays(teacher):
    rest = without(teacher, Removal("bypass", ("output_blocks.2",)))
    kept = count_parameters(rest.output_blocks[2].parameters())
    assert kept == count_parameters(teacher.output_blocks[2][-1].parameters())
    features = torch.randn(2, 96, 3, 3)
    # What the block before gave, without the 32 channels of the skip connection, resized.
    expected = teacher.output_blocks[2][-1](features[:, :64])
    assert torch.equal(rest.output_blocks[2](features, None), expected)
