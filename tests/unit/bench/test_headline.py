"""The command of the headline figures, in little: every row, resumed after an interruption."""

from __future__ import annotations

import json

import pytest
from support.paths import ROOT

from hummingbird_core.bench.models import BenchConfig

CONFIG = BenchConfig(height=32, width=32, frames=(2,), teacher_steps=1, student_steps=(1,))


@pytest.fixture
def headline(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "scripts"))
    return pytest.importorskip("headline")


def test_rows_are_kept_one_by_one_and_measured_once(headline, tmp_path):
    file = tmp_path / "rows.jsonl"
    first = headline.measure(headline.Headline(CONFIG), file)
    lines = file.read_text().splitlines()
    names = [json.loads(line)["row"] for line in lines]
    assert names == list(first)
    assert names[:2] == ["teacher, 1 steps, full decoder", "student, 1 steps, full decoder"]
    assert names[-2:] == ["plain teacher call, fp32", "plain decoded frame, fp32"]
    file.write_text("".join(f"{line}\n" for line in lines[:-1]))
    again = headline.measure(headline.Headline(CONFIG), file)
    assert list(again) == names
    assert [again[name] == first[name] for name in names] == [*[True] * (len(names) - 1), False]

    rows = headline.table(again, CONFIG)
    assert [row["video"] for row in rows] == names[:-2]
    assert rows[0]["against our teacher"] == 1.0
    seconds = {name: again[name]["total"]["wall"] for name in names}
    rest = sum(again[names[0]][part]["wall"] for part in ("text", "save"))
    original = 2 * seconds[names[-2]] + 2 * seconds[names[-1]] + rest
    assert rows[1]["against plain fp32"] == pytest.approx(original / seconds[names[1]])


def test_rows_of_other_settings_are_refused(headline, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"row": "a", "seconds": {}, "settings": {"preset": "other"}}))
    with pytest.raises(SystemExit, match="holds rows of other settings"):
        headline.measure(headline.Headline(CONFIG), file)
