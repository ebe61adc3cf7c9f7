"""The table of records: rows of finished runs, and one line for records that lack something."""

from __future__ import annotations

import json
import shutil

import pytest
from support.paths import ROOT

RECIPE = "training: {steps: 2, learning_rate: 1e-3}\nvalidation: {num_inference_steps: 2}\n"
LINE = {"loss": 0.5, "output_kd": 0.25, "kind": "16 frames", "learning_rate": 1e-3, "seconds": 1.5}
ORIGINS = {"teacher": "abc", "student": "def", "teacher_file": "/home/someone/teacher.safetensors"}


@pytest.fixture
def records(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "scripts"))
    pytest.importorskip("matplotlib")
    return pytest.importorskip("records")


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def folder(tmp_path):
    """A finished run of two steps, and evaluations with 1, 2 and 4."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text(RECIPE)
    (run / "origins.json").write_text(json.dumps(ORIGINS))
    write_lines(run / "tune.losses.jsonl", [{"step": n, **LINE} for n in range(2)])
    distances = [(-1, [0.2, 0.4]), (0, [0.1, 0.1]), (2, [0.2, 0.25])]
    write_lines(
        run / "diversity.jsonl", [{"step": n, "seed_distance": values} for n, values in distances]
    )
    recorded = json.loads((ROOT / "benchmarks" / "results" / "nano.json").read_text())
    for steps in (1, 2, 4):
        joint = {"shapes": {"joint": 1.0}, "pictures": {"joint": 0.3 * steps if steps < 4 else 1}}
        text = json.dumps({**recorded, "prompts": 250, "steps": steps, "accuracy": joint})
        (tmp_path / f"{steps}.json").write_text(text)
    return tmp_path


def arguments(folder, **changes):
    values = {
        "run": [folder / "run"],
        "evaluation": [folder / f"{steps}.json" for steps in (1, 2, 4)],
        "change": ["faster"],
        "command": ["hummingbird train tune"],
        "date": ["2026-12-01"],
        **changes,
    }
    options = [[f"--{name}", *map(str, value)] for name, value in values.items() if value]
    return [word for option in options for word in option] + ["-o", str(folder / "records")]


def test_a_finished_run_is_a_row_with_its_log(records, folder):
    shutil.copy(folder / "run" / "tune.losses.jsonl", folder / "vae.losses.jsonl")
    records.main(arguments(folder, before=[folder / "vae.losses.jsonl"]))
    (row,) = json.loads((folder / "records.json").read_text())["rows"]
    assert row["seconds"] == 6.0  # two steps, and two before
    assert row["accuracy"]["2"] == {"shapes": 1.0, "pictures": 0.6}
    assert row["diversity"] == 0.75
    text = (folder / "records.md").read_text()
    line = (
        "| 2026-12-01 | faster | 6 | shapes 100.0%, pictures 30.0% of 250 | "
        "shapes 100.0%, pictures 60.0% of 250 | shapes 100.0%, pictures 100.0% of 250 | "
        "0.75 in 2 steps | [2026-12-01-faster](records/2026-12-01-faster.json) |"
    )
    assert line in text.splitlines()
    log = (folder / "records" / "2026-12-01-faster.json").read_text()
    assert "someone" not in log
    (run,) = json.loads(log)["runs"]
    assert run["curves"] == {"output_kd": [[0, 0.25], [1, 0.25]]}

    records.main(arguments(folder, change=["again"]))
    rows = json.loads((folder / "records.json").read_text())["rows"]
    assert [each["change"] for each in rows] == ["faster", "again"]
    (folder / "records.md").unlink()
    records.main(["-o", str(folder / "records")])
    assert "again" in (folder / "records.md").read_text()


def test_several_numbers_of_steps_in_one_evaluation(records, folder):
    """Read the form that newer versions of `evaluate nano` write."""
    wording = {"accuracy": {"joint": 0.5}, "interval": {"joint": [0.43, 0.57]}}
    words = {"accuracy": {"big": 1.0}, "silent": []}
    kinds = {"wording": wording, "words": words, "frame_rates": {"8": 1.0}, "seconds": 0.2}
    settings = {"model": "student", "prompts": 200, "guidance": 7.5, "frames": 16}
    record = {**settings, "steps": dict.fromkeys(("1", "2", "4", "8"), kinds)}
    (folder / "all.json").write_text(json.dumps(record))
    records.main(arguments(folder, evaluation=[folder / "all.json"]))
    (row,) = json.loads((folder / "records.json").read_text())["rows"]
    assert row["accuracy"] == {steps: {"wording": 0.5} for steps in ("1", "2", "4", "8")}


LOSSES = "run/tune.losses.jsonl"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("run/recipe.yaml", None, "with 0 recipes and 1 losses files"),
        ("run/recipe.yaml", RECIPE.replace("2,", "3,"), "which has done 2 of 3 steps"),
        (LOSSES, [{"step": 0, **LINE}], "which has done 1 of 2 steps"),
        (LOSSES, [{"step": 0, **LINE}, {"step": 2, **LINE}], "with steps missing"),
        (LOSSES, [{"step": n, "loss": 1.0} for n in range(2)], "without 'seconds'"),
        (LOSSES, [{"step": n, **LINE, "loss": "nan"} for n in range(2)], "whose last loss is nan"),
        (LOSSES, "{\n", "which cannot be read"),
        ("run/diversity.jsonl", None, "without the distances of the teacher"),
        ("run/origins.json", None, "origins.json"),
        ("2.json", None, "2.json"),
        ("2.json", "{}", "expected what hummingbird evaluate nano"),
        ("2.json", "[", "2.json"),
        ("records.json", "[]", "which is no table of records"),
    ],
)
def test_records_that_lack_something_are_refused(records, folder, file, content, message):
    path = folder / file
    if content is None:
        path.unlink()
    elif isinstance(content, str):
        path.write_text(content)
    else:
        write_lines(path, content)
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit, match=message) as stopped:
        records.main(arguments(folder))
    assert str(stopped.value).startswith("error: ")
    assert "\n" not in str(stopped.value)
    assert sorted(folder.rglob("*")) == before  # nothing is written, nothing is lost


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluation": []}, "--run without --evaluation"),
        ({"command": []}, "--run without --command"),
    ],
)
def test_a_record_needs_all_of_its_parts(records, folder, changes, message):
    with pytest.raises(SystemExit, match=message):
        records.main(arguments(folder, **changes))


def test_evaluations_of_two_models_are_no_record(records, folder):
    record = json.loads((folder / "2.json").read_text())
    (folder / "2.json").write_text(json.dumps({**record, "model": "other"}))
    with pytest.raises(SystemExit, match="expected one model"):
        records.main(arguments(folder))


def test_one_number_of_steps_is_no_record(records, folder):
    with pytest.raises(SystemExit, match="expected also 1, 2"):
        records.main(arguments(folder, evaluation=[folder / "4.json"]))


def test_the_same_record_twice_is_refused(records, folder):
    records.main(arguments(folder))
    with pytest.raises(SystemExit, match="again, expected another --change or --date"):
        records.main(arguments(folder))


def test_the_recorded_table_is_up_to_date(records):
    output = ROOT / "benchmarks" / "results" / "records"
    rows = records.read_table(output.with_suffix(".json"))
    assert output.with_suffix(".md").read_text(encoding="utf-8") == records.table(rows)
    for row in rows:
        assert all((output.parent / path).exists() for path in row.log)
