"""`hummingbird generate` on real input: what it writes, keeps, and says about bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from diffusers.models import AutoencoderTiny
from support.command_line import CLI, PROMPT, error_of, run

from hummingbird_core.cli import main
from hummingbird_core.cli.options import split_strength
from hummingbird_core.generation.jobs import file_name
from hummingbird_core.hub.local import resolve_model
from hummingbird_core.vae.tiny import find_decoder
from hummingbird_core.video import read_metadata, read_video

# bad input, found before any model is loaded


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required"),
        ([PROMPT, "--prompts", "x.txt"], "not allowed with"),
        ([PROMPT, "--steps", "four"], "invalid int value: 'four'"),
        ([PROMPT, "--dtype", "fp8"], "invalid choice: 'fp8'"),
        ([PROMPT, "--format", "gif"], "-o names the format"),
        ([PROMPT, "-o", "clip.avi"], "expected one of .mp4, .gif, .webp, .png"),
        ([PROMPT, "-o", "clip"], "expected one of .mp4, .gif, .webp, .png"),
        (["--prompts", "missing.txt"], "cannot read missing.txt"),
        (["--prompts", "missing.txt", "-o", "v.mp4"], "expected a folder"),
        ([PROMPT, "--compile", "--memory", "fp8"], "expected one of them"),
    ],
)
def test_bad_arguments(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in error_of(capsys, "generate", *arguments)
    assert not list(tmp_path.iterdir())


def test_unwritable_folder_is_found_before_the_work(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    said = error_of(capsys, "generate", PROMPT, "-o", tmp_path / "file" / "clip.mp4")
    assert "cannot write to the folder" in said


@pytest.mark.parametrize("name", ["clip.mp4", "clip.json", "clip-contact-sheet.png"])
def test_a_file_of_another_origin_is_not_replaced(capsys, tmp_path, name):
    (tmp_path / name).write_text("precious")
    arguments = ["--json", "--contact-sheet", "-o", tmp_path / "clip.mp4"]
    assert "--overwrite" in error_of(capsys, "generate", PROMPT, *arguments)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.txt", "\n \n", "is empty"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": ', "p.jsonl line 2 is not JSON"),
        ("p.jsonl", '{"seed": 1}', 'line 1 has no "prompt"'),
        ("p.jsonl", '["a"]', 'line 1 has no "prompt"'),
        ("p.jsonl", '{"prompt": "a", "stepz": 3}', "unknown setting 'stepz'"),
        ("p.jsonl", '{"prompt": "a", "seed": "3"}', "seed is '3', expected a whole number"),
        ("p.jsonl", '{"prompt": "a", "fps": true}', "fps is True, expected a number"),
        ("p.jsonl", '{"prompt": "a", "seed": 1.5}', "seed is 1.5, expected a whole number"),
    ],
)
def test_bad_prompt_files(capsys, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    assert said in error_of(capsys, "generate", "--prompts", tmp_path / name, "-o", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_prompt_file_that_is_not_text(capsys, tmp_path):
    (tmp_path / "p.txt").write_bytes(b"caf\xe9 \x81\x82")
    assert "not UTF-8" in error_of(capsys, "generate", "--prompts", tmp_path / "p.txt")


# bad input that the pipeline, the checkpoint reader and the LoRA reader find


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", 0], "0"),
        (["--steps", 51], "51"),
        (["--seed", -1], "-1"),
        (["--width", 60], "60"),
        (["--height", 63], "63"),
        (["--frames", 0], "0"),
        (["--fps", 0], "0"),
        (["--guidance", "nan"], "nan"),
        (["--model", "hummingbird-nanoo"], "hummingbird-nanoo"),
        (["--model", "missing.safetensors"], "missing.safetensors"),
        (["--lora", "missing.safetensors:0.5"], "missing.safetensors"),
        (["--device", "toaster"], "toaster"),
    ],
)
def test_bad_settings(capsys, tmp_path, arguments, said):
    line = error_of(capsys, "generate", PROMPT, "-o", tmp_path / "clip.mp4", *arguments)
    assert said in line
    assert not list(tmp_path.iterdir())


def test_empty_prompt(capsys, tmp_path):
    assert "prompt" in error_of(capsys, "generate", "", "-o", tmp_path / "clip.mp4")


def test_a_bad_line_is_named_before_any_video_is_made(capsys, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a red circle"}\n{"prompt": "a", "width": 60}\n')
    output = tmp_path / "videos"
    line = error_of(capsys, "generate", "--prompts", tmp_path / "p.jsonl", "-o", output)
    assert "p.jsonl line 2" in line
    assert not output.exists() or not list(output.iterdir())


# generation with the built-in model


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """One generated video with every extra output."""
    path = tmp_path_factory.mktemp("generated") / "clip.mp4"
    extras = ["--gif", "--webp", "--png", "--contact-sheet", "--json"]
    assert main(["generate", PROMPT, "-o", str(path), "--seed", "5", *extras]) == 0
    return path


def test_generate_writes_everything_asked_for(clip):
    names = {path.name for path in clip.parent.iterdir()}
    others = {"clip.gif", "clip.webp", "clip", "clip-contact-sheet.png", "clip.json"}
    assert names == {"clip.mp4"} | others
    assert read_video(clip).frames.shape[0] == 16


def test_settings_are_the_same_in_every_file(clip):
    settings = json.loads(clip.with_suffix(".json").read_text())
    assert settings["prompt"] == PROMPT
    assert settings["seed"] == 5
    assert settings["model"] == "nano"
    for name in ("clip.mp4", "clip.gif", "clip.webp", "clip", "clip-contact-sheet.png"):
        assert read_metadata(clip.parent / name) == settings


def test_same_seed_same_frames_in_another_process(clip, tmp_path):
    again = tmp_path / "again.png"
    subprocess.run([*CLI, "generate", PROMPT, "-o", str(again), "--seed", "5"], check=True)
    first = read_video(clip.parent / "clip").frames
    assert np.array_equal(read_video(tmp_path / "again").frames, first)


def test_the_same_command_again_does_nothing(capsys, clip):
    before = clip.stat().st_mtime_ns
    code, out, _ = run(capsys, "generate", PROMPT, "-o", clip, "--seed", 5)
    assert code == 0
    assert out == f"kept {clip}: it was made with the same settings\n"
    assert clip.stat().st_mtime_ns == before


def test_other_settings_do_not_replace_a_video(capsys, clip):
    assert "--overwrite" in error_of(capsys, "generate", PROMPT, "-o", clip, "--seed", 6)


@pytest.mark.parametrize(
    "setting",
    [("--decoder", "tiny"), ("--context-length", 4), ("--dtype", "bf16")],
    ids=lambda pair: pair[0],
)
def test_a_setting_that_is_taken_back_is_another_setting(capsys, tmp_path, setting):
    command = ("generate", PROMPT, "-o", tmp_path / "v.mp4", "--frames", 2, "--steps", 1)
    assert run(capsys, *command, *setting)[0] == 0
    assert "--overwrite" in error_of(capsys, *command)
    assert "--overwrite" in error_of(capsys, *command, "--width", 32, "--height", 32)


def test_the_model_s_own_size_and_dtype_are_the_same_settings(capsys, tmp_path):
    command = ("generate", PROMPT, "-o", tmp_path / "v.mp4", "--frames", 2, "--steps", 1)
    command += ("--device", "cpu")
    assert run(capsys, *command, "--width", 64, "--height", 64, "--dtype", "fp32")[0] == 0
    assert run(capsys, *command)[1].startswith("kept ")


@pytest.mark.parametrize("option", ["--model", "--decoder"])
def test_weights_are_known_by_content_not_by_name(capsys, tmp_path, option):
    """Training always writes `student.safetensors`."""
    source = resolve_model("nano") if option == "--model" else find_decoder("tiny")
    for folder in ("same", "again", "other"):
        (tmp_path / folder).mkdir()
        shutil.copy(source, tmp_path / folder / "student.safetensors")
    with (tmp_path / "other" / "student.safetensors").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    command = ("generate", PROMPT, "-o", tmp_path / "v.mp4", "--frames", 2, "--steps", 1, option)
    assert run(capsys, *command, tmp_path / "same" / "student.safetensors")[0] == 0
    again = run(capsys, *command, tmp_path / "again" / "student.safetensors")[1]
    assert again.startswith("kept ")
    assert "--overwrite" in error_of(capsys, *command, tmp_path / "other" / "student.safetensors")


def test_a_tiny_vae_decodes_instead_of_the_full_one(capsys, tmp_path):
    AutoencoderTiny().save_pretrained(tmp_path / "taesd")
    made = tmp_path / "tiny.mp4"
    options = ("--frames", 2, "--steps", 1, "--decoder", tmp_path / "taesd")
    assert run(capsys, "generate", PROMPT, "-o", made, *options)[0] == 0
    assert read_metadata(made)["decoder"] == "taesd"


@pytest.mark.parametrize(("memory", "stored_in"), [("fp8", "fp8"), ("disk", None)])
def test_less_memory(capsys, tmp_path, memory, stored_in):
    """Only what rounds the weights makes another video."""
    command = ("generate", PROMPT, "-o", tmp_path / "v.mp4", "--frames", 2, "--steps", 1)
    command += ("--device", "cpu")
    assert run(capsys, *command, "--memory", memory)[0] == 0
    assert read_metadata(tmp_path / "v.mp4")["stored_in"] == stored_in
    assert run(capsys, *command)[0] == (2 if stored_in else 0)
    assert "try 'fp8'" in error_of(capsys, *command, "--memory", "ram", "--overwrite")


def test_the_built_in_fast_decoder_has_a_name(capsys, caplog, tmp_path):
    made = tmp_path / "fast.mp4"
    options = ("--frames", 16, "--steps", 1, "--decoder", "tiny")
    assert run(capsys, "generate", PROMPT, "-o", made, *options)[0] == 0
    assert not caplog.messages
    assert read_metadata(made)["decoder"] == "tiny"


def test_an_enhanced_prompt_keeps_the_original(capsys, tmp_path):
    """The expander adds nothing that the built-in model does not know, and says so."""
    quick = ["--frames", 2, "--steps", 1, "--enhance", "builtin"]
    assert run(capsys, "generate", PROMPT, "-o", tmp_path / "a.mp4", *quick)[0] == 0
    found = read_metadata(tmp_path / "a.mp4")
    assert found["original_prompt"] == found["prompt"] == PROMPT
    assert found["enhancer"] == {"source": "builtin", "model": None, "seed": 0}


def test_a_language_model_that_is_missing_is_named_as_its_option_is(capsys, tmp_path):
    arguments = ["generate", PROMPT, "-o", tmp_path / "a.mp4", "--enhance", "local"]
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "name one (--enhance-model)" in err


def test_a_batch_resumes_where_it_stopped(capsys, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(
        "a red circle moves right\n\na blue square drifts up\n", encoding="utf-8-sig"
    )
    arguments = ["generate", "--prompts", prompts, "-o", tmp_path / "v", "--format", "gif"]
    arguments += ["--frames", 2, "--steps", 1]
    assert run(capsys, *arguments)[0] == 0
    first, second = sorted((tmp_path / "v").iterdir())
    assert first.name == "0001-a-red-circle-moves-right.gif"
    kept = first.stat().st_mtime_ns
    second.unlink()
    code, out, _ = run(capsys, *arguments)
    assert (code, second.exists(), first.stat().st_mtime_ns) == (0, True, kept)
    assert out.splitlines()[0].startswith("kept ")
    assert out.splitlines()[1] == f"wrote {second}"


def test_settings_of_a_line_override_the_options(capsys, tmp_path):
    (tmp_path / "p.jsonl").write_text(
        json.dumps({"prompt": PROMPT, "num_frames": 4, "seed": 9, "fps": 7.5})
    )
    folder = tmp_path / "v"
    code = run(capsys, "generate", "--prompts", tmp_path / "p.jsonl", "-o", folder, "--steps", 1)[0]
    assert code == 0
    found = read_metadata(next(folder.iterdir()))
    assert (found["num_frames"], found["seed"], found["num_inference_steps"]) == (4, 9, 1)
    assert found["fps"] == read_video(next(folder.iterdir())).fps == 7.5


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send Ctrl-C to one child only")
def test_ctrl_c_exits_with_130_and_leaves_no_half_file(tmp_path):
    folder = tmp_path / "v"
    (tmp_path / "p.txt").write_text(f"{PROMPT}\n" * 500)
    command = [*CLI, "generate", "--prompts", str(tmp_path / "p.txt"), "-o", str(folder)]
    command += ["--frames", "4", "--steps", "1"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline().startswith("wrote "), child.stderr.read()
    child.send_signal(signal.SIGINT)
    stderr = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert stderr.splitlines()[-1] == "hummingbird: interrupted; finished work is kept"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert all(len(read_video(path).frames) == 4 for path in folder.iterdir())


# small parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("style.safetensors", ("style.safetensors", 1.0)),
        ("style.safetensors:0.5", ("style.safetensors", 0.5)),
        ("style.safetensors:-1", ("style.safetensors", -1.0)),
        (r"C:\loras\style.pt", (r"C:\loras\style.pt", 1.0)),
        (r"C:\loras\style.pt:0.8", (r"C:\loras\style.pt", 0.8)),
    ],
)
def test_lora_strength(text, expected):
    assert split_strength(text) == (Path(expected[0]), expected[1])


def test_file_names_are_safe_everywhere():
    assert file_name(3, "A red/blue: circle?") == "0003-a-red-blue-circle"
    assert file_name(12, "鳥が飛ぶ") == "0012-video"
    assert len(file_name(1, "very " * 50)) <= 45
