"""The diversity of models that draw: one as the world does, one always the same."""

from __future__ import annotations

import math
import random
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from support.drawing_pipeline import DrawingPipeline

from hummingbird_core.nano.diversity import (
    OPEN_PROMPTS,
    VARIED,
    NanoDiversity,
    diversity_table,
    measure_diversity,
)
from hummingbird_core.nano.world.captions import vocabulary
from hummingbird_core.nano.world.paths import FRAME_SIZE
from hummingbird_core.nano.world.scene import random_scene

PROMPTS = dict(islice(OPEN_PROMPTS.items(), 2))
SEEDS = 8


def test_the_world_is_as_diverse_as_itself():
    rng = random.Random(3)
    pipe = DrawingPipeline(lambda text: random_scene(rng, said=OPEN_PROMPTS[text]))
    found = measure_diversity(pipe, prompts=PROMPTS, seeds=SEEDS, batch=4)
    assert pipe.prompts == [text for text in PROMPTS for _ in range(SEEDS)]
    # The error of a standard deviation of 8 is a quarter, of the mean of two a fifth.
    assert found.spread == pytest.approx(dict.fromkeys(VARIED, 1.0), abs=0.4)
    assert found.distance > 10


def test_a_model_that_draws_one_scene_has_no_diversity():
    scenes = {text: random_scene(random.Random(0), said=said) for text, said in PROMPTS.items()}
    pipe = DrawingPipeline(scenes.__getitem__)
    found = measure_diversity(pipe, prompts=PROMPTS, seeds=2)
    assert found.spread == pytest.approx(dict.fromkeys(VARIED, 0.0), abs=1e-6)
    assert found.distance == 0


def test_a_model_that_shows_nothing_has_no_spread_of_subjects():
    gray = np.full((2, 16, FRAME_SIZE, FRAME_SIZE, 3), 128, dtype=np.uint8)
    found = measure_diversity(
        lambda *_, **__: SimpleNamespace(frames=gray), prompts=PROMPTS, seeds=2
    )
    assert found.spread["tone"] == 0
    assert all(math.isnan(found.spread[name]) for name in VARIED if name != "tone")


def test_the_open_prompts_are_in_the_words_of_the_captions():
    words = set(vocabulary())
    for text, said in OPEN_PROMPTS.items():
        (mention,) = said.mentions
        assert set(text.split()) <= words
        assert {mention.subject, mention.motion} <= set(text.split())


def test_the_table_has_a_row_for_each_model():
    found = NanoDiversity([11.0, 13.0], {name: [0.5, 0.5, math.nan] for name in VARIED})
    rows = diversity_table({"a": found, "b": found}).splitlines()
    assert len(rows) == 4
    half = "0.50 ± 0.00"
    assert rows[-1] == f"| b | 12.0 ± 2.0 | {half} | {half} | {half} | {half} |"
