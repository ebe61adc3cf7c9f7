"""The examples of docs/guides/python.md run, in their order, with the built-in model."""

from __future__ import annotations

import re
import runpy

from support.loras import nano, some_lora
from support.paths import ROOT

from hummingbird_core.lora import save_lora

GUIDE = ROOT / "docs" / "guides" / "python.md"


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_lora(some_lora(nano()), tmp_path / "style.safetensors")
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 10
    script = tmp_path / "guide.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    names = runpy.run_path(str(script))
    assert names["frames"].shape == (1, 3, 16, 64, 64)
    printed = capsys.readouterr().out
    assert printed == "{'style': 0.8, 'more': 0.0}\n[999, 759, 519, 279]\n"
    assert {"circle.mp4", "first.png"} <= {path.name for path in tmp_path.iterdir()}
