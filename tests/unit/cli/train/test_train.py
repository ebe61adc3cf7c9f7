"""`hummingbird train distil` and `train tune` on the built-in models, two steps each."""

from __future__ import annotations

import argparse
import json
from contextlib import redirect_stdout
from importlib.util import find_spec

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.command_line import error_of, run

from hummingbird_core.checkpoints import load_checkpoint
from hummingbird_core.cli import main
from hummingbird_core.cli.train.options import SHORT, stage_recipe
from hummingbird_core.lora import load_lora, merge_lora
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.loop.progress import read_losses
from hummingbird_core.video import read_video

SMALL = ("--steps", 2, "--batch", 2, "--set", "data.num_frames=2", "--set", "training.warmup=0")
SMALL += ("--set", "data.height=64", "--set", "data.width=64", "--set", "training.save_every=1")
VIDEO = ("--set", "training.validate_every=2", "--set", "validation.num_inference_steps=1")
VIDEO += ("--set", "validation.prompts=[a red circle moves right]")
VIDEO += ("--set", "validation.seeds=1")  # test_seed_diversity.py compares several
TEACHER = ("--teacher", "nano-teacher", "--data", "nano")
FEW_PATHS = ("--set", "paths.count=16")


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distil")
    with (folder / "out").open("w", encoding="utf-8") as out, redirect_stdout(out):
        distil(folder)
    return folder


def distil(folder, *more) -> None:
    arguments = ["train", "distil", *TEACHER, "--student", "hummingbird-nano", "-o", folder]
    assert main([str(a) for a in (*arguments, *SMALL, *FEW_PATHS, *VIDEO, *more)]) == 0


def tune(folder, distilled, *more) -> tuple:
    student = ("--student", distilled / "student.safetensors", "-o", folder)
    return ("train", "tune", *TEACHER, *student, *SMALL, *VIDEO, *more)


def test_stage_1_writes_a_student_and_what_happened(distilled):
    assert (distilled / "out").read_text().startswith("wrote ")
    checkpoint = load_checkpoint(distilled / "student.safetensors")
    assert checkpoint.preset == "hummingbird-nano"
    assert checkpoint.vae is not None
    assert checkpoint.text_encoder.encode("a red circle").unknown == [[]]
    assert not checkpoint.unet.time_cond_proj.weight.isnan().any()
    (snapshot,) = (distilled / "checkpoints").iterdir()
    assert snapshot.name == "step-000001.safetensors"
    assert load_checkpoint(snapshot).preset == "hummingbird-nano"
    lines = read_losses(distilled / "distil.losses.jsonl")
    assert [set(line) for line in lines] == [
        {"step", "loss", "path_kd", "gradient_norm", "learning_rate", "seconds"}
    ] * 2
    if find_spec("tensorboard"):
        assert any((distilled / "tensorboard" / "distil").iterdir())
    first, video = sorted((distilled / "validation").iterdir())
    assert first.name == "000000-a-red-circle-moves-right.mp4"
    assert video.name == "000002-a-red-circle-moves-right.mp4"
    assert read_video(video).frames.shape == (2, 64, 64, 3)
    assert read_video(video).metadata["prompt"] == "a red circle moves right"


def test_a_student_starts_from_its_teacher(distilled, tmp_path):
    """The original's did not unless told so."""
    teacher = load_checkpoint(distilled / "student.safetensors").unet
    original = load_checkpoint(_built_in("nano-teacher")).unet
    change = teacher.init_attn[0].proj_in.weight - original.init_attn[0].proj_in.weight
    assert 0 < change.abs().max() < 0.01


def _built_in(name):
    from hummingbird_core.hub.local import resolve_model

    return resolve_model(name)


def test_a_finished_run_with_more_steps_goes_on_and_says_what_changed(capsys, distilled, caplog):
    before = (distilled / "distil.losses.jsonl").read_text()
    distil(distilled, "--set", "training.steps=3")
    assert "resumes with another training.steps" in caplog.text
    assert (distilled / "distil.losses.jsonl").read_text().startswith(before)
    assert len(read_losses(distilled / "distil.losses.jsonl")) == 3
    assert "wrote" in capsys.readouterr().out


def test_stage_2_trains_a_lora_that_other_tools_take(capsys, tmp_path, distilled):
    lora = ("--set", "lora.rank=2", "--set", "lora.alpha=2", "--merge")
    code, out, _ = run(capsys, *tune(tmp_path, distilled, *lora))
    assert code == 0
    assert out.count("wrote ") == 3
    unet = load_checkpoint(distilled / "student.safetensors", dtype=torch.float32).unet
    trained = load_lora(tmp_path / "lora.safetensors", unet)
    snapshot = load_lora(tmp_path / "checkpoints" / "step-000001.safetensors", unet)
    assert snapshot.weights.keys() == trained.weights.keys()
    assert trained.format == "comfyui"
    assert not trained.unused
    assert trained.rank == 2
    assert any(weight.up.any() for weight in trained.weights.values())
    assert load_lora(tmp_path / "lora-peft", unet).weights.keys() == trained.weights.keys()
    merge_lora(unet, trained)
    merged = load_checkpoint(tmp_path / "student.safetensors", dtype=torch.float32).unet
    for key, value in unet.state_dict().items():
        torch.testing.assert_close(merged.state_dict()[key], value, atol=1e-3, rtol=1e-3)
    with safe_open(tmp_path / "student.safetensors", "pt") as file:
        assert json.loads(file.metadata()["hummingbird.config"])["unet"]["guidance_embedding"]


def test_stage_2_trains_all_weights_with_a_reward(capsys, tmp_path, distilled):
    scored = '"(red|green|blue) (circle|square|triangle) (goes|moves) (left|right|up|down)"'
    reward = f"objectives.rewards={{shapes: {{kind: shapes, captions: {scored}}}}}"
    code, out, err = run(capsys, *tune(tmp_path, distilled, "--set", reward))
    assert code == 0, err
    assert out.count("wrote ") == 1
    assert load_checkpoint(tmp_path / "checkpoints" / "step-000001.safetensors").vae is not None
    lines = read_losses(tmp_path / "tune.losses.jsonl")
    assert len(lines) == 2
    assert all({"output_kd", "shapes"} <= line.keys() for line in lines)
    assert load_checkpoint(tmp_path / "student.safetensors").preset == "hummingbird-nano"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--recipe", "nanotune"), "got recipe 'nanotune', expected a YAML file or one of"),
        (("--set", "training.stpes=3"), "did you mean steps?"),
        (("--steps", "some"), "got 'some' for recipe nano-tune: training: steps"),
        (("--teacher", "nowhere"), "got model 'nowhere', expected"),
        (("--data", "nowhere"), "nowhere"),
        (("--set", "objectives.consistency.processes=[1]"), "got process 1 for consistency"),
        (("--set", "validation.prompts=[a fox in the snow]"), "fox"),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path, more, message):
    arguments = ("train", "tune", *TEACHER, "--student", "nano", "-o", tmp_path, *SMALL, *more)
    assert message in error_of(capsys, *arguments)


def test_a_lora_is_not_for_stage_1(capsys, tmp_path):
    arguments = ("train", "distil", *TEACHER, "--student", "nano", "-o", tmp_path)
    assert "got a recipe with lora for stage 1" in error_of(
        capsys, *arguments, "--set", "lora.rank=2"
    )


def test_the_recipe_goes_by_the_teacher(tmp_path):
    """Without --recipe, VideoCrafter2 was distilled by the built-in model's."""
    args = argparse.Namespace(teacher="nano-teacher", recipe=None, set=[], **dict.fromkeys(SHORT))
    assert stage_recipe(args, "distil") == read_recipe("nano-distil")
    args.teacher = tmp_path / "teacher.safetensors"
    with safe_open(_built_in("nano-teacher"), "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    config = json.loads(metadata["hummingbird.config"])
    config["vae"] = {"scaling_factor": 0.18215}  # as VideoCrafter2's
    save_file(tensors, args.teacher, {**metadata, "hummingbird.config": json.dumps(config)})
    assert stage_recipe(args, "distil") == read_recipe("distil-0.7b")
    assert stage_recipe(args, "tune") == read_recipe("tune-0.7b")


def test_recipes_can_be_read_where_they_are_asked_for(capsys):
    assert "# Stage 2 of the paper" in run(capsys, "train", "recipe", "tune-0.7b")[1]
    assert "expected a YAML file or one of distil" in error_of(capsys, "train", "recipe", "tune")
    with pytest.raises(SystemExit):
        main(["train", "distil", "--help"])
    assert "tune-0.7b" in capsys.readouterr().out


def test_train_alone_lists_its_stages(capsys):
    code, out, _ = run(capsys, "train")
    assert code == 0
    assert "\n    distil " in out
    assert "invalid choice: 'distill'" in error_of(capsys, "train", "distill")
