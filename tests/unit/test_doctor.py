"""The doctor reports what is really there, and what is missing, without failing."""

from __future__ import annotations

import json

import pytest
import torch

from hummingbird_core import doctor
from hummingbird_core.cli import main
from hummingbird_core.unet import HummingbirdUNet, UNetConfig


@pytest.fixture(scope="module")
def found() -> dict:
    return doctor.diagnose()


def test_report_is_plain_data(found):
    assert json.loads(json.dumps(found)) == found


def test_this_machine_is_described(found):
    assert found["packages"]["torch"] == torch.__version__
    assert found["device"]["type"] == doctor.best_device().type
    assert 0 < found["memory"]["ram_free"] <= found["memory"]["ram_total"]
    assert found["ffmpeg"]
    assert "math" in found["attention"]


def test_nothing_is_missing_in_a_complete_installation(found):
    assert found["problems"] == []


def test_missing_things_are_named_with_the_remedy():
    packages = dict.fromkeys(doctor.REQUIRED, "1.0") | {"einops": None}
    problems = doctor._problems(packages, ffmpeg=None, built_in=False)
    assert problems[0] == "einops is missing: pip install einops"
    assert len(problems) == 3


@pytest.mark.parametrize(
    ("free", "device", "word"),
    [
        (64, "cpu", "fits (weights"),
        (5, "cpu", "fits with --memory bf16"),
        (3.5, "cpu", "fits with --memory fp8"),
        (2, "cpu", "fits with --memory disk"),
        (1, "cpu", "too large"),
        (4, "cuda", "fits with --memory fp8"),
        (2, "cuda", "fits with --memory ram"),
    ],
)
def test_verdict_depends_on_the_free_memory(free, device, word):
    fit = doctor._fit(772_091_780, torch.device(device), {"ram_free": free * 2**30})
    assert doctor._verdict(fit).startswith(word)


def test_gpu_memory_counts_where_there_is_a_gpu():
    memory = {"ram_free": 2**30, "gpu_free": 64 * 2**30}
    fit = doctor._fit(772_091_780, torch.device("cuda"), memory)
    assert fit["free"] == memory["gpu_free"]
    assert fit["weights"] == 2 * (772_091_780 + doctor.TEXT_PARAMETERS + doctor.VAE_PARAMETERS)


@pytest.mark.parametrize("preset", ["hummingbird-0.7b", "videocrafter2"])
def test_parameter_counts_are_those_of_the_models(preset):
    with torch.device("meta"):
        unet = HummingbirdUNet(UNetConfig.from_preset(preset))
    assert doctor.UNET_PARAMETERS[preset] == sum(p.numel() for p in unet.parameters())


def test_command_prints_text_and_json(capsys, found):
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == found.keys()
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "hummingbird-0.7b: " in text
    assert "GiB" in text
    assert text.splitlines()[-1].startswith("problems:")
