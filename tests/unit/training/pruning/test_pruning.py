"""Pruning: the published map, parameter counts at full size, custom maps, and files."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.command_line import error_of, run
from support.models import manifest

from hummingbird_core.checkpoints import load_checkpoint, read_tensors
from hummingbird_core.checkpoints.layout import UNET_PREFIX
from hummingbird_core.errors import InputError, OutputError
from hummingbird_core.hub.local import resolve_model
from hummingbird_core.training.pruning.block_map import (
    map_to,
    map_without,
    prune,
    pruned_tensors,
    pruning_map,
    read_map,
    student_config,
)
from hummingbird_core.training.pruning.block_removal import removal_of_map, without
from hummingbird_core.training.pruning.files import prune_checkpoint
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

TEACHER = UNetConfig.from_preset("videocrafter2")
NANO_TEACHER = UNetConfig.from_preset("nano-teacher")
NANO = UNetConfig.from_preset("hummingbird-nano")
ALL_LEVELS = replace(NANO, channel_mult=NANO_TEACHER.channel_mult)
TINY = replace(
    NANO_TEACHER, channel_mult=(1, 2), attention_levels=(0,), head_channels=16, context_dim=16
)


@dataclass(frozen=True)
class ShapeOnly:
    """A tensor of a full-size model, without its memory."""

    shape: tuple[int, ...]


def shapes_of(name: str) -> dict[str, ShapeOnly]:
    return {
        key.removeprefix(UNET_PREFIX): ShapeOnly(tuple(shape))
        for key, shape in manifest(name).items()
    }


# --- Maps -----------------------------------------------------------------------------------------


def test_the_map_is_the_published_one():
    inputs = {0: 0, 1: 1, 2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10}
    outputs = {0: 1, 1: 2, 2: 4, 3: 5, 4: 6, 5: 8, 6: 9, 7: 11}
    published = {f"input_blocks.{k}": f"input_blocks.{v}" for k, v in inputs.items()}
    published |= {f"output_blocks.{k}": f"output_blocks.{v}" for k, v in outputs.items()}
    assert pruning_map((1, 2, 4, 4), middle_block=False) == published
    assert pruning_map((1, 2, 4, 4)) == {**published, "middle_block": "middle_block"}


@pytest.mark.parametrize(
    ("name", "key"), [("hummingbird-0.9b", "09B"), ("hummingbird-0.7b", "07B")]
)
def test_the_map_is_that_of_the_released_files(name, key):
    released = manifest("remap_vc2_to_student")[key]["student_block <- teacher_block"]
    ours = map_to(TEACHER, UNetConfig.from_preset(name))
    numbered = {block: source for block, source in ours.items() if block != "middle_block"}
    assert numbered == {k: v[0] for k, v in released.items() if k.startswith(("input_", "output_"))}
    assert ("middle_block" in ours) == ("middle_block.0" in released)


@pytest.mark.parametrize(
    ("name", "reference", "parameters"),
    [
        ("hummingbird-0.9b", "unet_09B_tc256", 945_209_220),
        ("hummingbird-0.7b", "unet_07B_tc256", 772_091_780),
    ],
)
def test_pruned_teachers_have_the_names_shapes_and_counts_of_the_released_models(
    name, reference, parameters
):
    teacher = shapes_of("unet_vc2")
    assert sum(prod(tensor.shape) for tensor in teacher.values()) == 1_413_284_420
    student = UNetConfig.from_preset(name)
    mapping = map_to(TEACHER, student)
    assert student_config(TEACHER, mapping) == replace(student, **TEACHER.traits)
    pruned = pruned_tensors(teacher, student, mapping)
    whole = {**pruned, "time_cond_proj.weight": ShapeOnly((320, 256))}
    assert whole == shapes_of(reference)
    assert sum(prod(tensor.shape) for tensor in whole.values()) == parameters


def test_a_09b_model_prunes_to_a_07b_one():
    bigger, smaller = (UNetConfig.from_preset(f"hummingbird-0.{size}b") for size in (9, 7))
    mapping = map_to(bigger, smaller)
    assert all(block == source for block, source in mapping.items())
    assert pruned_tensors(shapes_of("unet_09B_tc256"), smaller, mapping) == shapes_of(
        "unet_07B_tc256"
    )


def test_a_student_of_fewer_levels_takes_the_upper_ones():
    mapping = map_to(NANO_TEACHER, NANO)
    inputs, outputs = {0: 0, 1: 1, 2: 3, 3: 4}, {0: 4, 1: 5, 2: 6, 3: 8}
    expected = {f"input_blocks.{k}": f"input_blocks.{v}" for k, v in inputs.items()}
    assert mapping == {
        **expected,
        **{f"output_blocks.{k}": f"output_blocks.{v}" for k, v in outputs.items()},
    }
    assert student_config(NANO_TEACHER, mapping) == NANO
    for middle_block in (True, False):
        student = replace(NANO_TEACHER, channel_mult=(1, 2), middle_block=middle_block)
        mapping = map_to(NANO_TEACHER, student)  # as many ResBlocks a level
        assert mapping["output_blocks.0"] == "output_blocks.3"
        assert student_config(NANO_TEACHER, mapping) == replace(student, guidance_embedding=True)


def test_no_model_is_made_of_one_that_it_is_no_part_of():
    with pytest.raises(InputError, match="got teacher of a custom shape, expected one that"):
        map_to(replace(NANO, num_res_blocks=2), ALL_LEVELS)
    with pytest.raises(InputError, match="got teacher nano-teacher, expected one that humming"):
        map_to(NANO_TEACHER, UNetConfig.from_preset("hummingbird-0.7b"))
    with pytest.raises(InputError, match="expected 2 and 1"):
        map_to(replace(NANO_TEACHER, num_res_blocks=3), NANO)


def test_a_map_without_some_blocks_numbers_the_others_anew():
    removed = {"input_blocks.1", "input_blocks.4", "output_blocks.0", "output_blocks.5"}
    mapping = map_without(TINY, removed)
    assert mapping["input_blocks.1"] == "input_blocks.2"
    assert mapping["output_blocks.3"] == "output_blocks.4"
    assert mapping["middle_block"] == "middle_block"
    assert set(mapping.values()).isdisjoint(removed)
    published = set(pruning_map((1, 2, 2)).values())
    gone = {f"{way}_blocks.{i}" for way in ("input", "output") for i in range(9)} - published
    assert map_without(NANO_TEACHER, gone) == pruning_map((1, 2, 2))


# --- In memory ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def teacher() -> HummingbirdUNet:
    torch.manual_seed(0)
    return HummingbirdUNet(NANO_TEACHER).eval().requires_grad_(False)


def predict(unet: HummingbirdUNet, **guidance: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(1, 4, 3, 8, 8, generator=generator)
    context = torch.randn(1, 77, unet.config.context_dim, generator=generator)
    with torch.no_grad():
        return unet(sample, 500, context, **guidance)


def test_a_student_computes_what_is_left_of_its_teacher(teacher):
    student = HummingbirdUNet(NANO).eval()
    prune(teacher, student)
    removal = removal_of_map(teacher.config, map_to(teacher.config, NANO))
    assert "middle_block" in removal.blocks
    expected = predict(without(teacher, removal))
    torch.testing.assert_close(predict(student), expected)
    # The guidance scale has no say yet.
    torch.testing.assert_close(predict(student, timestep_cond=torch.ones(1, 256)), expected)


def test_a_map_of_ones_own(teacher):
    mapping = map_to(NANO_TEACHER, ALL_LEVELS) | {
        "input_blocks.1": "input_blocks.2",
        "output_blocks.2": "output_blocks.4",
        "output_blocks.5": "output_blocks.8",
    }
    student = HummingbirdUNet(ALL_LEVELS).eval()
    prune(teacher, student, mapping)
    for block, source in mapping.items():
        expected = teacher.get_submodule(source).state_dict()
        got = student.get_submodule(block).state_dict()
        assert all(torch.equal(got[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_blocks.1": "input_blocks.9"}, "got input_blocks.9 for input_blocks.1, expected a"),
        ({"input_blocks.1": "input_blocks.3"}, r"whose 0\.emb_layers\.1\.bias is not there, exp"),
        ({"input_blocks.3": "input_blocks.5"}, r"0\.in_layers\.0\.bias is \(64,\), expected \(32,"),
        ({"output_blocks.3": "output_blocks.4"}, r"is \(128,\), expected \(96,\): choose a block"),
        ({"output_blocks.0": "output_blocks.2"}, r"whose 1\.conv\.bias is \(64,\), expected none"),
        ({"input_blocks.8": "input_blocks.8"}, "for 7 input blocks, 13 blocks in all, expected"),
        ({"input_block.0": "input_blocks.0"}, "name every block of the student"),
    ],
)
def test_maps_that_do_not_fit(teacher, change, message):
    mapping = map_to(NANO_TEACHER, ALL_LEVELS) | change
    with pytest.raises(InputError, match=message):
        pruned_tensors(teacher.state_dict(), student_config(NANO_TEACHER, mapping), mapping)


def test_a_map_needs_every_block():
    mapping = map_to(NANO_TEACHER, NANO)
    del mapping["output_blocks.3"]
    with pytest.raises(InputError, match="name every block"):
        student_config(NANO_TEACHER, mapping)
    with pytest.raises(InputError, match="0 input blocks"):
        student_config(NANO_TEACHER, {})


def test_a_part_of_a_teacher_is_refused(teacher):
    weights = {k: v for k, v in teacher.state_dict().items() if not k.startswith("init_attn")}
    with pytest.raises(InputError, match=r"got a teacher without init_attn\.0\.norm\.bias"):
        pruned_tensors(weights, NANO, map_to(NANO_TEACHER, NANO))


# --- Files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory) -> Path:
    """A bare U-Net, as a pickled state dict."""
    path = tmp_path_factory.mktemp("teacher") / "tiny.pt"
    torch.manual_seed(0)
    torch.save({"state_dict": HummingbirdUNet(replace(TINY, norm_groups=32)).state_dict()}, path)
    return path


def smallest(config: UNetConfig):
    return map_to(config, replace(config, num_res_blocks=1, middle_block=False))


def test_the_built_in_teacher_prunes_to_a_file_that_loads_like_the_student(capsys, tmp_path):
    output = tmp_path / "student.safetensors"
    arguments = ("train", "prune", "nano-teacher", "-o", output)
    code, said, _ = run(capsys, *arguments, "--to", "hummingbird-nano", "--dtype", "fp16")
    assert code == 0
    assert "new, and zero until it is trained: time_cond_proj.weight" in said
    lowest = "input_blocks.6, input_blocks.7, input_blocks.8, middle_block"
    assert f"without input_blocks.2, input_blocks.5, {lowest}" in said
    student, source = load_checkpoint(output), load_checkpoint(resolve_model("nano-teacher"))
    assert student.preset == "hummingbird-nano"
    assert student.unet.config == NANO
    assert not student.unet.time_cond_proj.weight.any()
    assert torch.equal(
        student.unet.output_blocks[1][0].in_layers[2].weight,
        source.unet.output_blocks[5][0].in_layers[2].weight,
    )
    for part in ("vae", "text_encoder"):
        copied, original = (getattr(c, part).state_dict() for c in (student, source))
        assert copied.keys() == original.keys()
        assert all(torch.equal(copied[key], original[key]) for key in original)
    with safe_open(output, "pt") as file:
        metadata = file.metadata()
        parameters = sum(
            prod(file.get_slice(key).get_shape())
            for key in file.keys()  # noqa: SIM118
            if key.startswith(UNET_PREFIX)
        )
    assert metadata["hummingbird.source"] == "nano-teacher.safetensors"
    assert f"hummingbird-nano: {parameters:,} parameters" in said
    assert "exists already" in error_of(capsys, *arguments)


def test_without_a_choice_the_smallest_student_is_made(tmp_path, tiny_file):
    output = tmp_path / "student.safetensors"
    seen = []
    report = prune_checkpoint(
        tiny_file, output, smallest, progress=lambda done, total: seen.append((done, total))
    )
    assert report["preset"] == "custom"
    assert report["new"] == ["time_cond_proj.weight"]
    assert report["removed"] == [
        *("input_blocks.2", "input_blocks.5", "middle_block", "output_blocks.0", "output_blocks.4")
    ]
    assert seen[-1][0] == seen[-1][1] == 4 * report["parameters"]
    student, source = read_tensors(output), read_tensors(tiny_file)
    assert torch.equal(
        student["input_blocks.3.0.in_layers.2.weight"],
        source["input_blocks.4.0.in_layers.2.weight"],
    )
    pruned = load_checkpoint(output)
    assert pruned.unet.config.guidance_embedding
    # Its shape is no released model's, so nor are the terms.
    assert pruned.metadata["hummingbird.licence"] == "that of the source file"


def test_a_guided_teacher_keeps_its_guidance_input(tmp_path, tiny_file):
    first = tmp_path / "first.safetensors"
    prune_checkpoint(tiny_file, first, smallest)
    guided = read_tensors(first)
    guided["time_cond_proj.weight"] += 1
    save_file(guided, tmp_path / "guided.safetensors")
    again = tmp_path / "again.safetensors"
    report = prune_checkpoint(tmp_path / "guided.safetensors", again, smallest)
    assert report["new"] == report["removed"] == []
    assert read_tensors(again)["time_cond_proj.weight"].min() == 1


def test_impossible_files(tmp_path, tiny_file):
    copy = tmp_path / "copy.safetensors"
    prune_checkpoint(tiny_file, copy, smallest)
    with pytest.raises(InputError, match="as teacher and student"):
        prune_checkpoint(copy, copy, smallest, overwrite=True)
    with pytest.raises(OutputError, match=r"ends in \.safetensors"):
        prune_checkpoint(tiny_file, tmp_path / "student.pt", smallest)


def test_maps_from_files(capsys, tmp_path):
    output, path = tmp_path / "out" / "student.safetensors", tmp_path / "map.json"
    arguments = ("train", "prune", "nano-teacher", "-o", output, "--map", path)
    assert "map.json: No such file" in error_of(capsys, *arguments)
    path.write_text("[1]")
    assert "expected a block map such as" in error_of(capsys, *arguments)
    mapping = pruning_map((1, 2, 2)) | {"output_blocks.3": "output_blocks.4"}
    path.write_text(json.dumps(mapping))
    assert read_map(path) == mapping
    assert "got output_blocks.4 for output_blocks.3" in error_of(capsys, *arguments)
    assert not output.exists()


def test_the_wrong_teacher_for_a_student(capsys, tmp_path):
    said = error_of(
        *(capsys, "train", "prune", "nano-teacher", "-o", tmp_path / "a.safetensors"),
        *("--to", "hummingbird-0.7b"),
    )
    assert "expected one that hummingbird-0.7b is a part of" in said
    assert list(tmp_path.iterdir()) == []
