"""The page's JavaScript without a browser, in Node: it computes what the numpy runner does."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from support.paths import ROOT

from hummingbird_core.inputs.steps import consistency_grid
from hummingbird_core.runtime.noise import initial_noise, step_noises
from hummingbird_core.runtime.sampler import guidance_scale_embedding, sample_lcm
from hummingbird_core.text.tokenizer import WordTokenizer

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs node on the PATH")

COUNTS = (16, 17, 31, 700, 4096)
SEEDS = (0, 7, 2**32 + 5, 2**64 - 1)
WORDS = ("a", "red", "circle", "it", "élan", "3d")
PROMPTS = (
    "A red, RED circle!",
    "an under_score it's 3D Élan",
    "kreis \u0416\u4e00 a\u00bdb",
    "",
    "red " * 80,
)
SCRIPT = """
import { initialNoise, stepNoises } from "./noise.js";
import { consistencyGrid, guidanceScaleEmbedding, sampleLcm } from "./sampler.js";
import { WordTokenizer } from "./tokenizer.js";

const { counts, seeds, words, prompts } = JSON.parse(process.argv[2]);
const big = seeds.map(BigInt);
const tokenizer = new WordTokenizer({ kind: "words", words });
const eps = async (x, t) => x.map((value) => value * 0.9 + t / 1000);
const out = {
  noise: big.map((seed) => counts.map((count) => [...initialNoise(count, seed)])),
  steps: await Promise.all(big.map(async (seed) => {
    const noises = await stepNoises(seed);
    return [[...noises.normal(20)], [...noises.normal(20)]];
  })),
  grids: Array.from({ length: 50 }, (_, i) => consistencyGrid(i + 1)),
  embedding: [...guidanceScaleEmbedding(7.5, 256)],
  sampled: [...(await sampleLcm(eps, initialNoise(64, 3n), await stepNoises(3n), 7))],
  ids: prompts.map((prompt) => tokenizer.tokenize(prompt).ids),
  notes: prompts.map((prompt) => tokenizer.tokenize(prompt).notes),
};
console.log(JSON.stringify(out));
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("page")
    for path in (ROOT / "web-demo").glob("*.js"):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')  # as a browser takes them
    (folder / "script.js").write_text(SCRIPT)
    seeds = [str(seed) for seed in SEEDS]
    values = {"counts": COUNTS, "seeds": seeds, "words": WORDS, "prompts": PROMPTS}
    command = [NODE, "script.js", json.dumps(values)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_seed_gives_the_noise_of_pytorch(page):
    for i, seed in enumerate(SEEDS):
        for j, count in enumerate(COUNTS):
            np.testing.assert_allclose(
                page["noise"][i][j], initial_noise((count,), seed), atol=2e-6
            )


def test_steps_add_the_noise_of_the_runner(page):
    for got, seed in zip(page["steps"], SEEDS, strict=True):
        for values, expected in zip(got, step_noises((20,), seed), strict=False):
            np.testing.assert_allclose(values, expected, atol=2e-6)


def test_every_number_of_steps_has_the_same_timesteps(page):
    assert page["grids"] == [consistency_grid(steps) for steps in range(1, 51)]


def test_the_guidance_scale_is_embedded_as_by_the_runner(page):
    expected = guidance_scale_embedding(7.5, 256)[0]
    np.testing.assert_allclose(page["embedding"], expected, atol=1e-6)


def test_samples_are_those_of_the_runner(page):
    def eps(x: np.ndarray, t: int) -> np.ndarray:
        return x * np.float32(0.9) + np.float32(t / 1000)

    expected = sample_lcm(eps, initial_noise((64,), 3), step_noises((64,), 3), 7)
    np.testing.assert_allclose(page["sampled"], expected, rtol=1e-4, atol=1e-4)


def test_a_prompt_has_the_same_ids_and_reports_lost_text(page):
    tokenizer = WordTokenizer(WORDS)
    assert page["ids"] == [tokenizer.tokenize(prompt).ids for prompt in PROMPTS]
    assert page["notes"][0] == page["notes"][3] == []
    assert "unknown to this model: under, score, s." in page["notes"][1][0]
    assert page["notes"][4] == [f"Too long, without effect: {' '.join(['red'] * 5)}."]
