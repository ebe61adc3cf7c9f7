"""The best of several seeds: ranking, its record, and what happens where the model fails."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.command_line import PROMPT, error_of, run
from support.planted_defects import scene

from hummingbird_core.errors import InputError
from hummingbird_core.generation.best_of import BestOf, agreement_with, best_video
from hummingbird_core.video import read_metadata, read_video

BY_COLOR = "support.contrastive_models:ByColor"
MOODY = "support.contrastive_models:Moody"


def colored(seed: int) -> np.ndarray:
    """Seed 0 is red, 1 green and 2 blue, with noise that moves."""
    frames = np.random.default_rng(seed).integers(0, 60, (4, 32, 32, 3)).astype(np.uint8)
    frames[..., seed % 3] += 150
    return frames


@pytest.mark.parametrize(("prompt", "seed"), [("a blue ball", 2), ("0: red; 2: red too", 0)])
def test_the_video_that_agrees_most_is_kept(prompt, seed):
    frames, facts = best_video(colored, range(3), agreement_with(prompt, BY_COLOR), 8)
    assert facts["best_seed"] == seed
    assert np.array_equal(frames, colored(seed))
    values = [one["agreement"] for one in facts["candidates"]]
    assert values == sorted(values, reverse=True)
    assert {one["seed"] for one in facts["candidates"]} == {0, 1, 2}


def test_without_a_model_defects_decide():
    def generate(seed: int) -> np.ndarray:
        good = scene(1, 18, 48, 64)
        return good if seed else np.zeros_like(good)

    _, facts = best_video(generate, range(2), agreement_with("red", ""), 8)
    assert facts["best_seed"] == 1
    assert facts["candidates"][1]["defects"]
    assert "agreement" not in facts["candidates"][0]


def test_a_model_that_fails_is_reported_and_the_others_decide(caplog):
    """Red fills the memory, green gives no numbers, blue another number of them."""
    agreement = agreement_with("blue", MOODY)
    _, facts = best_video(colored, range(3), agreement, 8)
    assert facts["best_seed"] in range(3)
    assert not any("agreement" in one for one in facts["candidates"])
    for reason in ("the memory is full", "finite numbers", "equally many"):
        assert reason in caplog.text
    assert math.isnan(agreement(colored(0)))


@pytest.mark.parametrize("count", [0, 65])
def test_wrong_numbers_of_seeds_are_refused(count):
    with pytest.raises(InputError, match="expected 1 to 64"):
        BestOf(count)


def test_the_command_keeps_the_best_seed_and_resumes(capsys, tmp_path):
    options = ["--frames", "2", "--steps", "1", "--device", "cpu", "--seed", "5"]
    video = tmp_path / "best.png"
    arguments = [PROMPT, *options, "--best-of", "2", "--agreement", BY_COLOR]
    assert run(capsys, "generate", *arguments, "-o", video)[0] == 0
    facts = read_metadata(tmp_path / "best")
    assert (facts["seed"], facts["best_of"]) == (5, 2)
    assert facts["best_seed"] in (5, 6)
    again = ["--seed", str(facts["best_seed"]), "-o", tmp_path / "again.png"]
    assert run(capsys, "generate", PROMPT, *options[:-2], *again)[0] == 0
    assert np.array_equal(
        read_video(tmp_path / "best").frames, read_video(tmp_path / "again").frames
    )
    assert "kept" in run(capsys, "generate", *arguments, "-o", video)[1]
    said = error_of(capsys, "generate", PROMPT, *options, "--best-of", "3", "-o", video)
    assert "other settings" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--agreement", BY_COLOR], "--best-of N"),
        (["--best-of", "2", "--agreement", "no/such"], "not on this computer"),
        (["--best-of", "0"], "expected 1 to 64"),
    ],
)
def test_bad_options_are_found_before_the_work(capsys, tmp_path, arguments, said):
    assert said in error_of(capsys, "generate", PROMPT, *arguments, "-o", tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
