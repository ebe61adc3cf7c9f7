"""The reports of nodes are lines that the front end knows in other languages."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
from comfy_install import ROOT
from support.loras import some_lora

from hummingbird_core.lora import save_lora
from hummingbird_core.lora.formats import NO_GUIDANCE_LAYER
from hummingbird_core.prompts import chat_enhancer, expander


def _names_of(report: str) -> list[str | None]:
    """The template of each line, read as web/texts.js reads it; None for a line without one."""
    texts = json.loads((ROOT / "locales/en/main.json").read_text(encoding="utf-8"))
    patterns = {
        name: re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(template))
        for name, template in texts["hummingbird_reports"].items()
    }
    return [
        next((name for name, pattern in patterns.items() if re.fullmatch(pattern, line)), None)
        for line in report.split("\n")
    ]


def test_a_prompt(adapter, nano):
    _, _, report = adapter.prompt.encode_prompt(nano.clip, "xyzzy")
    assert _names_of(report)[:2] == ["tokens", "unknown"]
    assert None not in _names_of(report)
    _, _, report = adapter.prompt.encode_prompt(nano.clip, "a red circle moves right " * 40)
    assert _names_of(report) == ["tokens", "no_effect"]
    _, _, report = adapter.prompt.encode_prompt(nano.clip, "0: a cat; 8: a fox")
    assert set(_names_of(report)) == {"tokens"}


@pytest.mark.parametrize("prompt", ["a cat", "кот", "a red circle moves right " * 40])
def test_an_enhanced_prompt(adapter, nano, prompt):
    result = adapter.prompts.enhance(nano.clip, prompt, "builtin", "", "", 0, None)
    report = adapter.prompts.describe_enhanced(replace(result, english="a cat", cut_off="it"))
    _, *names = _names_of(report)  # the first line is the prompt
    assert names[:3] == ["tokens_source", "translated", "cut_off"]
    assert None not in names


def test_the_remarks_of_enhancers():
    answers = (
        chat_enhancer.OWN_WORDS_FIRST,
        chat_enhancer.LEFT_ALONE,
        chat_enhancer.NOT_TRANSLATED,
    )
    remarks = (*answers, expander.FOREIGN)
    assert None not in _names_of("\n".join(remarks))


def test_a_key_that_is_withheld(monkeypatch):
    from hummingbird_core.prompts.backends.api_key import KEY_VARIABLE, withheld_notes

    monkeypatch.setenv(KEY_VARIABLE, "secret")
    (note,) = withheld_notes("http://example.com/v1", trusted=False)
    assert _names_of(note) == ["no_key"]


def test_a_lora(adapter, nano, tmp_path):
    unet = adapter.unet.hummingbird_unet(nano.model)
    trigger = {"modelspec.trigger_phrase": "fox style"}
    lora = replace(some_lora(unet), metadata=trigger)
    path = tmp_path / "style.safetensors"
    save_lora(lora, path)
    _, report = adapter.lora.apply_lora(nano.model, path, 1.0)
    assert _names_of(report)[0] == "lora"
    described = adapter.lora._describe(replace(lora, unused=[NO_GUIDANCE_LAYER]), "style")
    assert _names_of(described) == ["lora", "trigger", "did_not_fit"]


def test_a_file_that_lacks_something(adapter, nano):
    for lack in ({"clip": None}, {"vae": None}, {"clip": None, "vae": None}):
        report = adapter.checkpoint.describe_lacks(replace(nano, **lack))
        assert _names_of(report) == ["lacks_both" if len(lack) == 2 else "lacks"]


def test_a_flat_video(adapter):
    flat = torch.zeros(4, 8, 8, 3)
    report = adapter.frames.flat_warning(flat, {"samples": torch.zeros(1, 4, 4, 1, 1)})
    assert _names_of(report) == ["flat"]
