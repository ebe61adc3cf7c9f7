"""Parts from outside the package, named as MODULE:NAME: those of the guide, as it has them."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

pytest.importorskip("accelerate", reason="needs the extra train")

from hummingbird_core.cli import main
from hummingbird_core.errors import InputError
from hummingbird_core.training.data.registry import has_no_files, open_source
from hummingbird_core.training.distillation.distil import distil
from hummingbird_core.training.distillation.held_out_metric import load_held_out
from hummingbird_core.training.distillation.recipe import DataConfig, read_recipe, write_recipe
from hummingbird_core.training.loop.progress import read_losses
from hummingbird_core.training.rewards import load_reward

GUIDE = ROOT / "docs" / "guides" / "training.md"
MORE = """

def no_clips(clips, frames, vae):
    return None


class NoObjective:
    pass
"""
OUTSIDE = ["objectives.l1.kind=my_parts:AbsoluteError", "objectives.l1.power=1.5"]


def example(language: str, start: str) -> str:
    """The code block of the guide that begins like this."""
    text = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (block,) = (block for block in blocks if block.startswith(start))
    return block


@pytest.fixture(autouse=True)
def outside_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    module = example("python", "# my_parts.py") + MORE
    (folder / "my_parts.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)


def test_the_example_of_the_guide_trains_and_notices_changes(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(example("yaml", "training: {steps: 2"), encoding="utf-8")
    command = example("bash", "PYTHONPATH=. hummingbird train distil")
    arguments = shlex.split(command.replace("\\\n", " "))[2:]
    assert main(arguments) == 0
    run = Path("runs/mine")
    lines = read_losses(run / "distil.losses.jsonl")
    assert [{"output_kd", "l1", "light"} <= line.keys() for line in lines] == [True, True]
    assert all(line["l1"] > 0 for line in lines)
    judged = read_losses(run / "judge.jsonl")
    assert [line["step"] for line in judged] == [0, 2]
    assert all(line["held_out"][0] > 0 for line in judged)
    assert any(path.name.startswith("best-") for path in (run / "checkpoints").iterdir())
    notes = [json.loads(line) for line in (run / "mine.jsonl").read_text().splitlines()]
    assert notes[0]["objectives.l1.kind"] == "my_parts:AbsoluteError"
    assert [note["loss"] for note in notes if "loss" in note] == [line["loss"] for line in lines]
    assert read_recipe(run / "recipe.yaml") == read_recipe("mine.yaml")

    with (tmp_path / "site" / "my_parts.py").open("a") as file:
        file.write("# changed\n")
    changes = ["training.steps=3", "objectives.rewards.light.options.threshold=1"]
    assert main([*arguments, *(part for change in changes for part in ("--set", change))]) == 0
    assert "objectives.rewards.light.options.threshold" in caplog.text
    assert "my_parts (its code) from step 2 on" in caplog.text
    code = json.loads((run / "code.json").read_text())
    assert code.keys() == {"0", "2"}
    assert code["0"] != code["2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"treshold": 1}, "got key 'treshold' in options of the reward my_parts:Brightness.*did"),
        ({"threshold": "high"}, "got 'high' for the options .*: threshold, expected a number"),
    ],
)
def test_options_that_a_part_does_not_know(options, message):
    with pytest.raises(InputError, match=message):
        load_reward("my_parts:Brightness", None, options)


def test_options_are_converted_checked_and_for_outside_parts_only():
    assert load_reward("my_parts:Brightness", None, {"threshold": "1e-3"}).threshold == 1e-3
    assert load_held_out("my_parts:Contrast", None, {"threshold": 2}).threshold == 2
    for load, kind in ((load_reward, "shapes"), (load_held_out, "shape_reader")):
        with pytest.raises(InputError, match=f"got options size for the .* {kind}, expected none"):
            load(kind, None, {"size": 1})


def test_an_objective_can_be_left_out(tmp_path):
    recipe = read_recipe("nano-distil", [*OUTSIDE, "objectives.l1=null"])
    assert recipe.objectives.terms.keys() == {"path_kd"}
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("objectives.mine={weight: 2}", "got key 'mine' in recipe .*or add kind: MODULE:NAME"),
        ("objectives.mine.kind=nowhere:Mine", "got objective 'nowhere:Mine', expected MODULE"),
        ("objectives.mine.kind=my_parts:Mine", "got objective 'my_parts:Mine', expected"),
        ("objectives.mine.kind=my_parts:NoObjective", "expected a dataclass derived from"),
        (
            "objectives.mine={kind: 'my_parts:AbsoluteError', powr: 2}",
            "got key 'powr' in recipe nano-distil: objectives: mine, .* did you mean power",
        ),
        ("objectives.rewards.path_kd.kind=shapes", "got path_kd as an objective and a reward"),
    ],
)
def test_bad_objectives(change, message):
    with pytest.raises(InputError, match=message):
        read_recipe("nano-distil", [change])


def test_rewards_from_outside():
    assert load_reward("my_parts:Brightness").threshold == 0
    with pytest.raises(InputError, match="got reward 'my_parts:Darkness', expected MODULE"):
        load_reward("my_parts:Darkness")
    with pytest.raises(InputError, match="got NoObjective from the reward my_parts:NoObj"):
        load_reward("my_parts:NoObjective")


def test_clip_sources_from_outside(tmp_path):
    data = DataConfig()
    settings = (None, tmp_path, data.frames, data.clips(4, seed=0))
    assert has_no_files("my_parts:noise_clips")
    assert not has_no_files(tmp_path)
    options = {"caption": "a red circle"}
    batch = open_source("my_parts:noise_clips", *settings, options=options).batch(0, size=2)
    assert batch.captions == ["a red circle"] * 2
    assert batch.latents.shape == (2, 4, 4, data.height // 8, data.width // 8)
    with pytest.raises(InputError, match="got clip source 'my_parts:clips', expected MODULE"):
        open_source("my_parts:clips", *settings)
    with pytest.raises(InputError, match="got no caption in the options of the clip source my_p"):
        open_source("my_parts:noise_clips", *settings)
    with pytest.raises(InputError, match="got options caption for the clip source nano"):
        open_source("nano", *settings, options=options)
    with pytest.raises(InputError, match="got NoneType from the clip source my_parts:no_c"):
        open_source("my_parts:no_clips", *settings)


def test_a_run_without_clips_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"got no clips, .*give --data"):
        distil("nano-teacher", "hummingbird-nano", None, read_recipe("nano-distil"), tmp_path)
