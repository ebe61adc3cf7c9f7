"""`hummingbird enhance`: what it prints, and what it says about bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.chat_server import chat_server, fails, says
from support.command_line import run

from hummingbird_core.text.tokenizer import ClipTokenizer

GOOD = "a red fox trots through deep snow, steady low-angle shot, soft light"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HUMMINGBIRD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HUMMINGBIRD_API_KEY", raising=False)


def error_of(capsys, *arguments) -> str:
    """The one line on stderr of a command that must fail with exit code 2."""
    code, out, err = run(capsys, "enhance", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("hummingbird: error: ")
    assert err.count("\n") == 1
    return err


def test_it_prints_the_prompt_and_nothing_else(capsys):
    code, out, _ = run(capsys, "enhance", "a fox in the snow")
    assert code == 0
    assert out.startswith("a fox in the snow, ")
    assert out.count("\n") == 1


WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "diffusers", "safetensors"):
    sys.modules[name] = None  # importing it raises ImportError
from hummingbird_core.prompts import BuiltinEnhancer
from hummingbird_core.text.tokenizer import WordTokenizer
print(BuiltinEnhancer(WordTokenizer(["fox"])).enhance("a fox").text)
from hummingbird_core.cli import main
sys.exit(main(["enhance", "a fox in the snow"]))
"""


def test_the_built_in_expander_needs_no_torch(capsys):
    command = [sys.executable, "-c", WITHOUT_TORCH]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"a fox\n{run(capsys, 'enhance', 'a fox in the snow')[1]}"


def test_the_seed_decides(capsys):
    outs = [run(capsys, "enhance", "a fox", "--seed", seed)[1] for seed in (1, 2, 1)]
    assert outs[0] == outs[2] != outs[1]


def test_json_holds_everything(capsys):
    _, out, _ = run(capsys, "enhance", "a fox", "--json", "--seed", 5)
    result = json.loads(out)
    assert result["original"] == "a fox"
    assert (result["source"], result["model"], result["seed"]) == ("builtin", None, 5)
    assert result["tokens"] == ClipTokenizer().count(result["prompt"])
    assert (result["room"], result["cut_off"], result["notes"]) == (75, "", [])


def test_a_file_of_prompts_gives_a_line_each(capsys, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a fox\n\na wolf\n")
    _, out, _ = run(capsys, "enhance", "--prompts", prompts)
    assert [line.split(",")[0] for line in out.splitlines()] == ["a fox", "a wolf"]


def test_a_line_of_a_jsonl_file_may_have_its_own_seed(capsys, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "a fox", "seed": 3}\n{"prompt": "a fox"}\n')
    _, out, _ = run(capsys, "enhance", "--prompts", prompts, "--json", "--seed", 8)
    assert [json.loads(line)["seed"] for line in out.splitlines()] == [3, 8]


def test_what_was_cut_off_is_said(capsys, caplog):
    code, out, _ = run(capsys, "enhance", "a fox in the snow, " * 30)
    assert code == 0
    assert out.startswith("a fox in the snow, a fox")
    assert "75 tokens fit the text window; cut off: a fox in the snow" in caplog.text


def test_for_the_built_in_model_nothing_is_added(capsys, caplog):
    _, out, _ = run(capsys, "enhance", "a red circle moves right", "--for", "nano")
    assert out == "a red circle moves right\n"
    assert "knows none of the words" in caplog.text


def test_a_system_prompt_of_ones_own(capsys, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Answer in $words words, as a pirate.\n")
    with chat_server(says(GOOD)) as server:
        arguments = ("a red fox", "--source", "server", "--url", server.url)
        _, out, _ = run(capsys, "enhance", *arguments, "--system", path)
    assert out == f"{GOOD}\n"
    assert server.requests[0]["messages"][0]["content"] == "Answer in 45 words, as a pirate."


def test_a_system_prompt_that_cannot_be_used(capsys, tmp_path):
    (tmp_path / "empty.txt").write_text(" \n")
    server = ("a red fox", "--source", "server")
    assert "check --system" in error_of(capsys, *server, "--system", tmp_path / "gone.txt")
    assert "empty" in error_of(capsys, *server, "--system", tmp_path / "empty.txt")
    (tmp_path / "mine.txt").write_text("As a pirate.")
    assert "no language model" in error_of(capsys, "a fox", "--system", tmp_path / "mine.txt")


def test_a_server_rewrites(capsys):
    with chat_server(says(f"Sure! Here is the prompt:\n\n{GOOD}")) as server:
        code, out, _ = run(
            capsys, "enhance", "a red fox", "--source", "server", "--url", server.url
        )
    assert (code, out) == (0, f"{GOOD}\n")


def test_a_server_that_refuses_is_one_line(capsys):
    with chat_server(fails(404, "no model 'big'")) as server:
        line = error_of(
            capsys, "a fox", "--source", "server", "--url", server.url, "--model", "big"
        )
    assert "no model 'big'" in line
    assert line.endswith("check both (--model, --url)\n")


def test_results_before_a_failure_are_printed_and_come_from_the_cache_next_time(capsys, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red fox\na grey wolf\n")
    with chat_server(says(GOOD), fails(401), says("a grey wolf howls")) as server:
        arguments = ("--prompts", prompts, "--source", "server", "--url", server.url)
        code, out, _ = run(capsys, "enhance", *arguments)
        assert (code, out) == (2, f"{GOOD}\n")
        code, out, _ = run(capsys, "enhance", *arguments)
        assert (code, out) == (0, f"{GOOD}\na grey wolf howls\n")
    assert server.questions == ["a red fox", "a grey wolf", "a grey wolf"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["  "], "empty prompt"),
        (["a fox", "--seed", "-1"], "got seed -1"),
        (["a fox", "--seed", "x"], "--seed"),
        (["a fox", "--source", "magic"], "--source"),
        (["a fox", "--source", "local"], "name one (--model)"),
        (["a fox", "--source", "local", "--model", "no/such"], "hf download no/such"),
        (["a fox", "--source", "server", "--url", "ftp://x"], "server URL"),
        (["a fox", "--for", "no-such-model"], "no-such-model"),
        (["--prompts", "no-such-file.txt"], "no-such-file.txt"),
        ([], "required"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, expected):
    assert expected in error_of(capsys, *arguments)


def test_a_bad_prompt_is_named_before_any_model_is_asked(capsys, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(f"a fox\n{'a ' * 6000}\n")
    with chat_server(says(GOOD)) as server:
        line = error_of(capsys, "--prompts", prompts, "--source", "server", "--url", server.url)
    assert "prompts.txt line 2: got a prompt of" in line
    assert "--url" not in line
    assert not server.requests


def test_help_shows_examples(capsys):
    code, out, _ = run(capsys, "enhance", "--help")
    assert code == 0
    assert 'hummingbird enhance "a fox in the snow"' in out
