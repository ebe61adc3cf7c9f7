"""Block maps: a smaller student U-Net that starts from a teacher's weights.

A block map names, for every block of the student, the teacher block that it copies. Other layers
(embeddings, first attention, output layers) are copied unchanged. Only the guidance input
`time_cond_proj` is new: it starts at zero, so that the guidance scale has no effect until it is
trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ...errors import InputError
from ...inputs.json_text import read_json
from ...unet.model import HummingbirdUNet, UNetConfig
from ...weights.state_dict import HasShape

BlockMap = dict[str, str]  # student block -> teacher block

MIDDLE = "middle_block"
NEW_TENSOR = "time_cond_proj.weight"


Stored = TypeVar("Stored", bound=HasShape)


def pruning_map(channel_mult: Sequence[int], *, middle_block: bool = True) -> BlockMap:
    """Return the published map from a teacher of two ResBlocks per level to a student of one.

    Published for levels of width 1, 2, 4, 4 (arXiv 2503.18559, section 3.1). Every input level
    loses its second ResBlock. Every output level has three blocks and loses the first if the level
    below has the same width; otherwise the first changes the width, and the second is removed.
    """
    mapping = {MIDDLE: MIDDLE} if middle_block else {}
    upwards = channel_mult[::-1]
    for level, mult in enumerate(upwards):
        for block in range(2):  # the convolution or downsampling, and the ResBlock
            mapping[f"input_blocks.{2 * level + block}"] = f"input_blocks.{3 * level + block}"
        below = upwards[max(level - 1, 0)]
        for block, source in enumerate((1, 2) if below == mult else (0, 2)):
            mapping[f"output_blocks.{2 * level + block}"] = f"output_blocks.{3 * level + source}"
    return mapping


def map_to(teacher: UNetConfig, student: UNetConfig) -> BlockMap:
    """Return the map from one U-Net of the family to another.

    It is the published map, or the identity where both have as many ResBlocks per level. A student
    with fewer levels lacks the lowest ones.

    Raises:
        InputError: `student` is not a pruned `teacher`, or no map between them is published.
    """
    widths = teacher.channel_mult[: len(student.channel_mult)]
    if teacher.num_res_blocks == student.num_res_blocks:
        middle = set() if student.middle_block else {MIDDLE}
        mapping = map_without(replace(teacher, channel_mult=widths), middle)
    elif (teacher.num_res_blocks, student.num_res_blocks) == (2, 1):
        mapping = pruning_map(widths, middle_block=student.middle_block)
    else:
        raise InputError(
            f"got a teacher of {teacher.num_res_blocks} ResBlocks a level and a student of "
            f"{student.num_res_blocks}, expected 2 and 1: give a map of your own"
        )
    lowest = lowest_levels(teacher, len(teacher.channel_mult) - len(widths))
    upper = map_without(teacher, set(lowest))
    mapping = {block: upper.get(source, source) for block, source in mapping.items()}
    if student_config(teacher, mapping).preset != student.preset:
        raise InputError(
            f"got teacher {teacher.preset or 'of a custom shape'}, expected one that "
            f"{student.preset or 'the student'} is a part of: choose another teacher or student"
        )
    return mapping


def unpruned_map(config: UNetConfig) -> BlockMap:
    """Return the map of every block to itself."""
    count = len(config.channel_mult) * (config.num_res_blocks + 1)
    names = [f"{way}_blocks.{i}" for way in ("input", "output") for i in range(count)]
    return {name: name for name in [*names, *([MIDDLE] if config.middle_block else [])]}


def lowest_levels(config: UNetConfig, count: int) -> list[str]:
    """Return the blocks of the `count` levels of lowest resolution, without the middle block."""
    stride = config.num_res_blocks + 1
    blocks, gone = len(config.channel_mult) * stride, count * stride
    inputs = [f"input_blocks.{i}" for i in range(blocks - gone, blocks)]
    return inputs + [f"output_blocks.{i}" for i in range(gone)]


def map_without(config: UNetConfig, removed: set[str]) -> BlockMap:
    """Return the map that leaves out `removed` blocks and renumbers the others."""
    mapping: BlockMap = {}
    counts = {"input_blocks": 0, "output_blocks": 0}
    for block in unpruned_map(config):
        if block in removed:
            continue
        way = block.split(".")[0]
        name = block
        if way in counts:
            name = f"{way}.{counts[way]}"
            counts[way] += 1
        mapping[name] = block
    return mapping


def read_map(path: Path) -> BlockMap:
    """Read a block map from a JSON file, `{"input_blocks.0": "input_blocks.0", ...}`.

    Raises:
        InputError: the file does not exist, or holds something else.
    """
    mapping = read_json(path)
    if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
        raise InputError(
            f"got something else than an object of texts in {path}, expected a block map such as "
            '{"input_blocks.0": "input_blocks.0", ...}'
        )
    return mapping


def student_config(teacher: UNetConfig, mapping: BlockMap) -> UNetConfig:
    """Return the config of the student that `mapping` describes: the teacher's, with fewer blocks.

    The student has a level of the teacher if it has its first block, the downsampling one.

    Raises:
        InputError: the student's blocks are not those of a U-Net.
    """
    inputs = [source for name, source in mapping.items() if name.startswith("input_blocks.")]
    stride = teacher.num_res_blocks + 1
    firsts = [f"input_blocks.{level * stride}" for level in range(len(teacher.channel_mult))]
    levels = sum(first in inputs for first in firsts)
    config = replace(
        teacher,
        channel_mult=teacher.channel_mult[:levels],
        attention_levels=tuple(level for level in teacher.attention_levels if level < levels),
        num_res_blocks=len(inputs) // max(levels, 1) - 1,
        middle_block=MIDDLE in mapping,
        guidance_embedding=True,
    )
    if config.num_res_blocks < 1 or mapping.keys() != unpruned_map(config).keys():
        raise InputError(
            f"got a map for {len(inputs)} input blocks, {len(mapping)} blocks in all, expected "
            f"input_blocks.N and output_blocks.N with N from 0, equally many on each of {levels} "
            f"levels, with or without {MIDDLE}: name every block of the student"
        )
    return config


def pruned_tensors(
    teacher: Mapping[str, Stored], student: UNetConfig, mapping: BlockMap
) -> dict[str, Stored]:
    """Return the teacher's tensors by their names in the student, without the student's new ones.

    Args:
        teacher: tensors by name without prefix, in memory or in a file.
        student: config of the student.
        mapping: student block -> teacher block.

    Raises:
        InputError: a block differs in layers or shapes from the one that it is mapped to.
    """
    expected = HummingbirdUNet(student, device="meta").state_dict()
    for block, source in mapping.items():
        _check_block(block, _part(expected, block), source, _part(teacher, source))
    names = {key: _teacher_key(key, mapping) for key in expected}
    missing = sorted(set(names.values()) - teacher.keys() - {NEW_TENSOR})
    if missing:
        raise InputError(
            f"got a teacher without {', '.join(missing[:3])}, expected all that the student has: "
            "prune a whole U-Net of the same kind"
        )
    return {key: teacher[name] for key, name in names.items() if name in teacher}


def prune(
    teacher: HummingbirdUNet, student: HummingbirdUNet, mapping: BlockMap | None = None
) -> None:
    """Copy the blocks of `teacher` that `mapping` keeps (default: `map_to`) into `student`."""
    mapping = map_to(teacher.config, student.config) if mapping is None else mapping
    tensors = pruned_tensors(teacher.state_dict(), student.config, mapping)
    for key, value in student.state_dict().items():
        value.copy_(tensors[key]) if key in tensors else value.zero_()


def _teacher_key(key: str, mapping: BlockMap) -> str:
    name = MIDDLE if key.startswith(MIDDLE) else ".".join(key.split(".")[:2])
    return mapping.get(name, name) + key[len(name) :]


def _part(tensors: Mapping[str, HasShape], block: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a block's tensors by their names inside the block."""
    prefix = f"{block}."
    return {
        key.removeprefix(prefix): tuple(tensor.shape)
        for key, tensor in tensors.items()
        if key.startswith(prefix)
    }


def _check_block(
    block: str,
    expected: dict[str, tuple[int, ...]],
    source: str,
    got: dict[str, tuple[int, ...]],
) -> None:
    if not got:
        raise InputError(f"got {source} for {block}, expected a block that the teacher has")
    for name in sorted(expected.keys() | got.keys()):
        if expected.get(name) != got.get(name):
            raise InputError(
                f"got {source} for {block}, whose {name} is {got.get(name, 'not there')}, expected "
                f"{expected.get(name, 'none')}: choose a block that sits in the same place"
            )
