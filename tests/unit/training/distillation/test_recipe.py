"""Recipes: those in the package, values beside them, and errors that name the key."""

from __future__ import annotations

import pytest
from support.paths import ROOT

from hummingbird_core.errors import InputError
from hummingbird_core.training.distillation.noise import NoiseConfig
from hummingbird_core.training.distillation.recipe import (
    DataConfig,
    changed_keys,
    read_recipe,
    read_recorded_recipe,
    write_recipe,
)
from hummingbird_core.training.distillation.recipe_files import recipe_names
from hummingbird_core.training.loop.config import TrainConfig

SMALL = "training: {steps: 5, learning_rate: 1e-3}\nobjectives: {output_kd: {}}\n"


def recipe_file(tmp_path, text: str):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_the_recipes_of_the_package_can_be_read(name, tmp_path):
    recipe = read_recipe(name)
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_all_recipes_are_in_the_guide():
    guide = (ROOT / "docs" / "guides" / "training.md").read_text(encoding="utf-8")
    assert len(recipe_names()) >= 6
    rows = [line for line in guide.splitlines() if line.startswith("| `")]
    for name in recipe_names():
        assert any(f"`{name}`" in row for row in rows), name


def test_stage_1_is_the_papers():
    recipe = read_recipe("distil-0.7b")
    training = recipe.training
    assert (training.learning_rate, training.batch, training.clip_norm) == (1e-5, 96, 0.5)
    assert recipe.noise.guidance == (11.0, 11.0)  # 12 in the paper's convention
    assert recipe.noise.dynamic_rescale
    assert recipe.student.dropout == 0.1
    assert recipe.data == DataConfig((16,), 320, 512, max_stride=6)
    assert recipe.lora is None


def test_stage_2_is_the_papers():
    recipe = read_recipe("tune-0.7b")
    assert recipe.lora.rank == recipe.lora.alpha == 64
    assert recipe.training.optimizer == "adamw8bit"
    assert recipe.training.betas == (0.9, 0.999)
    assert recipe.noise.guidance == (5.0, 15.0)
    rewards = recipe.objectives.rewards
    assert {name: reward.weight for name, reward in rewards.items()} == {"image": 1.0, "video": 2.0}
    assert rewards["video"].processes == (3,)
    assert recipe.objectives.terms["consistency"].processes == (0, 1, 2)
    assert recipe.data.num_frames == (26,)
    assert recipe.data.clips(26, seed=0).fps == 8


def test_values_beside_the_file(tmp_path):
    changes = ["training.steps=7", "objectives.feature_kd.weight=0.5", "noise.guidance=[11, 11]"]
    recipe = read_recipe(recipe_file(tmp_path, SMALL), changes)
    assert recipe.training == TrainConfig(steps=7, learning_rate=1e-3)
    assert recipe.objectives.terms["feature_kd"].weight == 0.5
    assert "output_kd" in recipe.objectives.terms
    assert recipe.noise.guidance == (11.0, 11.0)
    without = read_recipe("tune-0.7b", ["lora=null", "objectives.rewards={}"])
    assert without.lora is None
    assert not without.objectives.rewards


def test_what_changed_is_named():
    old, new = read_recipe("nano-tune"), read_recipe("nano-tune", ["training.steps=7", "lora={}"])
    changed = ["lora.alpha", "lora.dropout", "lora.rank", "training.steps"]
    assert changed_keys(old, new) == changed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SMALL.replace("steps", "stpes"), r"got key 'stpes' in mine.yaml: training, .* mean steps"),
        (SMALL + "datta: {}", r"got key 'datta' in mine.yaml, .*did you mean data\?"),
        (SMALL.replace("steps: 5, ", ""), "got no steps in mine.yaml: training, expected one"),
        (SMALL.replace("5", "many"), "got 'many' for mine.yaml: training: steps, expected a whole"),
        (SMALL.replace("5", "5.5"), "got 5.5 for mine.yaml: training: steps, expected a whole"),
        (SMALL.replace("5", "true"), "got True for mine.yaml: training: steps, expected a whole"),
        (SMALL.replace("5", "0"), "got steps 0, expected at least 1"),
        (
            SMALL + "noise: {timesteps: some}",
            "got 'some' for .*expected one of uniform, grid, bins",
        ),
        (SMALL + "noise: {sampling_share: 1}", "got sampling_share 1.0, expected 0 to below 1"),
        (SMALL + "noise: {sampling_steps: 51}", "got 51 steps, expected an int from 1 to 50"),
        (SMALL + "noise: {guidance: 7}", r"got 1 values for .*guidance, expected 2"),
        (
            SMALL + "noise: {dynamic_rescale: 1}",
            "got 1 for .*dynamic_rescale, expected true",
        ),
        (SMALL + "noise: 3", "got 3 for mine.yaml: noise, expected keys with values"),
        (SMALL + "objectives: {rewards: 1}", "got 1 for .*rewards, expected keys with values"),
        ("training: [", "got mine.yaml, which is no YAML"),
        ("", "got mine.yaml without sections"),
    ],
)
def test_bad_recipes(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_recipe(recipe_file(tmp_path, text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.steps", "got 'training.steps', expected KEY=VALUE"),
        ("=3", "got '=3', expected KEY=VALUE"),
        ("training.steps=[", r"got 'training.steps=\[', whose value is no YAML"),
        ("training.step=3", "did you mean steps"),
        ("data.num_frames=[]", r"got num_frames \(\), expected at least one length"),
        ("data.num_frames=[16, 0]", "got num_frames 0, expected at least 1"),
        ("data.height=63", "got clips of height 63, expected a multiple of 8: try 64"),
        ("data.caption_dropout=3", "got caption_dropout 3.0, expected 0 to 1"),
        ("data.fps=0", "got fps 0.0, expected more than 0, or null"),
        ("data.max_frames=20", "got max_frames 20, expected at least 26"),
        ("data.max_gigabytes=0", "got max_gigabytes 0.0, expected more than 0"),
        ("student.dropout=2", "got dropout 2.0, expected 0 to below 1"),
        ("lora.dropout=2", "got dropout 2.0, expected 0 to below 1"),
        ("lora.rank=0", "got rank 0, expected at least 1"),
        ("objectives.output_kd.weight=-1", "got weight -1.0, expected 0 or more"),
        ("objectives.output_kd.every=0", "got every 0, expected at least 1"),
        ("objectives.rewards.shapes.chunk=0", "got chunk 0, expected at least 1"),
        ("objectives.rewards.shapes.max_timestep=-1", "got max_timestep -1, expected 0 to 999"),
        ("objectives.rewards.shapes.captions=(", "expected a regular expression"),
        ("validation.num_inference_steps=60", "got num_inference_steps 60, expected 1 to 50"),
        ("validation.seed=-1", "got seed -1, expected 0 to"),
        ("validation.fps=0", "got fps 0, expected more than 0"),
        ("validation.guidance_scale=-1", "got guidance_scale -1.0, expected 0 or more"),
        ("validation.prompts=['']", "expected text in each"),
    ],
)
def test_bad_changes(change, message):
    with pytest.raises(InputError, match=message):
        read_recipe("nano-tune", ["objectives.rewards.shapes.kind=shapes", change])


def test_a_judge_that_training_follows_is_none():
    follows = "objectives.rewards.image.kind=pickscore"
    with pytest.raises(InputError, match="got pickscore as the reward image and as"):
        read_recipe("tune-0.7b", [follows])
    read_recipe("tune-0.7b", [follows, "validation.judge=hpsv2"])
    read_recipe("tune-0.7b", [follows, "validation.judge_weights=other"])


OLD_NOISE = "noise: {guided_from: 500, latent_scale: true, pure_last_step: true, samples: student}"


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ("pure_last_step: true", "got key 'pure_last_step' in .*called 'zero_terminal_snr' now"),
        ("guided_from: 500", "got key 'guided_from' in .*called 'cfg_start_timestep' now: rename"),
        ("samples: student", "got 'student' in .*noise: samples, which is called 'on_policy' now"),
        ("timesteps: slots", "got 'slots' in .*noise: timesteps, which is called 'bins' now"),
    ],
)
def test_old_names_are_answered_with_the_new_ones(tmp_path, noise, message):
    with pytest.raises(InputError, match=message):
        read_recipe(recipe_file(tmp_path, f"{SMALL}noise: {{{noise}}}"))


def test_the_record_of_an_older_run_can_still_be_read(tmp_path):
    older = SMALL.replace("output_kd: {}", "output_kd: {}, feature_kd: null") + OLD_NOISE
    noise = read_recorded_recipe(recipe_file(tmp_path, older)).noise
    assert noise == NoiseConfig(
        samples="on_policy", cfg_start_timestep=500, dynamic_rescale=True, zero_terminal_snr=True
    )


def test_unknown_recipes():
    with pytest.raises(
        InputError, match=r"got recipe 'nano', expected a YAML file or one of .*nano-"
    ):
        read_recipe("nano")
