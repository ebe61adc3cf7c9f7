"""Measurements without some blocks, and the map that follows."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice

import pytest
import torch
from support.command_line import error_of, run
from support.drawing_pipeline import DrawingPipeline

from hummingbird_core.checkpoints import load_checkpoint
from hummingbird_core.errors import InputError
from hummingbird_core.nano.world.paths import Clip
from hummingbird_core.nano.world.stream import is_held_out, samples
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.sampling import predict_x0
from hummingbird_core.training.data.batch import ClipBatch
from hummingbird_core.training.pruning import analysis
from hummingbird_core.training.pruning.analysis import (
    TIMESTEPS,
    ProbeSample,
    Ranking,
    RemovalCost,
    all_removals,
    probe_losses,
    propose,
    teacher_targets,
)
from hummingbird_core.training.pruning.block_map import (
    map_to,
    map_without,
    pruning_map,
    student_config,
)
from hummingbird_core.training.pruning.block_removal import (
    Removal,
    level_of,
    removal_of_map,
    removals,
    without,
)
from hummingbird_core.training.pruning.metrics import (
    RANKING_CLIP_SEED,
    RANKING_PROMPT_SEED,
    load_metric,
    nano_accuracy,
    nano_clips,
)
from hummingbird_core.training.pruning.report import ranking_table, ranking_title, write_plot
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.weights.state_dict import count_parameters

NANO_TEACHER = UNetConfig.from_preset("nano-teacher")
TINY = replace(
    NANO_TEACHER, channel_mult=(1, 2), attention_levels=(0,), head_channels=16, context_dim=16
)


@pytest.fixture(scope="module")
def teacher() -> HummingbirdUNet:
    torch.manual_seed(0)
    return HummingbirdUNet(TINY).eval().requires_grad_(False)


# --- What it costs --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipe() -> HummingbirdPipeline:
    from hummingbird_core.hub.local import resolve_model

    return HummingbirdPipeline.from_checkpoint(
        load_checkpoint(resolve_model("nano-teacher"), dtype=torch.float32)
    )


@pytest.fixture(scope="module")
def questions(pipe) -> list[ProbeSample]:
    clips = ClipBatch(torch.randn(1, 4, 2, 8, 8), ["a red circle moves up"], torch.tensor([8.0]))
    return teacher_targets(pipe, clips)


def test_the_whole_teacher_loses_nothing(pipe, questions):
    assert [question.t for question in questions] == list(TIMESTEPS)
    assert probe_losses(pipe.unet, questions) == (0.0, 0.0)


def test_the_loss_is_the_error_in_noise_and_in_clean_latents(pipe, questions):
    unet = without(pipe.unet, Removal("bypass", ("input_blocks.2",)))
    errors = []
    for question in questions:
        sample, t = question.sample, question.t
        eps = unet(sample, t, question.context, fps=question.fps)
        clean = predict_x0(sample, eps, t) - predict_x0(sample, question.target, t)
        noise = (eps - question.target).square().mean()
        errors.append(torch.stack([noise, noise + clean.square().mean()]))
    expected = torch.stack(errors).mean(dim=0).tolist()
    assert probe_losses(unet, questions) == pytest.approx(expected, rel=1e-4)
    assert 0 < expected[0] < expected[1]


def test_drawn_clips_are_encoded_with_the_models_own_vae(pipe):
    clips = nano_clips(pipe, 2, 4)
    assert clips.latents.shape == (2, 4, 4, 8, 8)
    assert len(clips.captions) == len(clips.fps) == 2
    assert all(map(is_held_out, clips.captions))
    decoded = pipe.decode(clips.latents[:, :, :1])
    scene = next(samples(RANKING_CLIP_SEED, Clip(4), held_out="wording"))[0]
    error = (decoded[0, :, 0] - (scene.render()[:, 0] * 2 - 1)).abs().mean()
    assert error < 0.15


def test_the_nano_metric_is_one_for_what_was_asked_for():
    stream = islice(samples(RANKING_PROMPT_SEED, held_out="wording"), 4)
    scenes = {text: scene for scene, _, text in stream}
    assert nano_accuracy(4, 16, 4, 7.5)(DrawingPipeline(scenes.__getitem__)) == 1.0


def test_metrics_of_ones_own():
    assert load_metric("math:sqrt")(4) == 2
    for name in ("math", "math:no_such_function", "no_such_module:f", ":"):
        with pytest.raises(InputError, match="expected MODULE:FUNCTION"):
            load_metric(name)


# --- The ranking ----------------------------------------------------------------------------------


class StopError(Exception):
    pass


def test_a_stopped_ranking_goes_on_where_it_was(tmp_path, pipe, questions):
    path, wanted = tmp_path / "blocks.json", removals(pipe.unet)[:4]
    calls = []

    def metric(rest: HummingbirdPipeline) -> float:
        calls.append(rest)
        if len(calls) == 3:
            raise StopError
        return 0.5

    with pytest.raises(StopError):
        Ranking(path, {"clips": 1}).measure(pipe, wanted, questions[:1], metric)
    resumed = Ranking(path, {"clips": 1})
    assert [row.removal for row in resumed.rows] == wanted[:2]
    resumed.measure(pipe, wanted, questions[:1], metric)
    assert len(calls) == 5
    assert [row.removal for row in Ranking(path, {"clips": 1}).rows] == wanted
    with pytest.raises(InputError, match="with other settings"):
        Ranking(path, {"clips": 2})
    path.write_text("{}")
    with pytest.raises(InputError, match="as a ranking of blocks"):
        Ranking(path, {"clips": 1})


@pytest.fixture
def ranking(tmp_path, nano_removals) -> Ranking:
    """Made-up losses: the published map is not the best; middle and lowest level cost much."""
    dear = {Removal("bypass", ("middle_block",)), *(r for r in nano_removals if r.kind == "lowest")}
    ranking = Ranking(tmp_path / "made-up.json", {"teacher": "made-up"})
    for number, removal in enumerate(nano_removals):
        loss = 50.0 if removal in dear else float(number % 7)
        ranking.rows.append(
            RemovalCost(removal.kind, removal.blocks, 9, loss / 2, loss, 1 - loss / 99)
        )
    return ranking


@pytest.fixture(scope="module")
def nano_removals() -> list[Removal]:
    return all_removals(HummingbirdUNet(NANO_TEACHER, device="meta"))


def test_a_proposal_takes_the_cheapest_pair_of_every_level(ranking):
    removed = propose(NANO_TEACHER, ranking.rows, 0.75).blocks
    cheapest = {}
    for row in ranking.of_kind("pair"):
        cheapest.setdefault(level_of(NANO_TEACHER, row.blocks[0]), set(row.blocks))
    assert len(cheapest) == 3
    assert set(removed) == set().union(*cheapest.values())
    student = student_config(NANO_TEACHER, map_without(NANO_TEACHER, set(removed)))
    assert student.num_res_blocks == 1
    assert student.middle_block


@pytest.mark.parametrize(
    ("budget", "loses_middle", "levels"), [(0.75, False, 3), (0.6, True, 3), (0.5, True, 2)]
)
def test_a_proposal_stays_within_the_budget(ranking, budget, loses_middle, levels):
    removal = propose(NANO_TEACHER, ranking.rows, budget)
    student = student_config(NANO_TEACHER, map_without(NANO_TEACHER, set(removal.blocks)))
    assert (student.num_res_blocks, len(student.channel_mult)) == (1, levels)
    small, large = (
        count_parameters(HummingbirdUNet(config, device="meta").parameters())
        for config in (student, NANO_TEACHER)
    )
    assert small <= budget * large
    assert ("middle_block" in removal.blocks) == loses_middle


def test_no_student_is_small_enough(ranking):
    with pytest.raises(
        InputError, match=r"got a budget of 0\.1 .* expected at least 0\.\d{3}, the"
    ):
        propose(NANO_TEACHER, ranking.rows, 0.1)


def test_a_student_can_only_lose_its_middle_block(tmp_path):
    config = replace(TINY, num_res_blocks=1)
    ranking = Ranking(tmp_path / "made-up.json", {})
    for removal in all_removals(HummingbirdUNet(config, device="meta")):
        ranking.rows.append(RemovalCost(removal.kind, removal.blocks, 1, 1.0, 1.0, None))
    assert propose(config, ranking.rows, 0.95).blocks == ("middle_block",)


def test_table_and_plot(tmp_path, ranking):
    published = removal_of_map(NANO_TEACHER, pruning_map((1, 2, 2)))
    ranking.rows.append(RemovalCost("map", published.blocks, 9, 9.0, 9.0, 0.1))
    table = ranking_table(ranking, {"published map": published}).splitlines()
    assert len(table) == 2 + len(ranking.rows)
    assert table[-1].startswith("| published map | map | 9 | 9 | 9 | 0.100 |")
    assert any(line.startswith("| middle | bypass |") for line in table)
    figures = [float(line.split("|")[4]) for line in table[2:-2]]
    assert figures == sorted(figures)
    pytest.importorskip("matplotlib")
    write_plot(tmp_path / "a.png", ranking, "made up")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_writes_a_map_that_prunes(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(analysis, "TIMESTEPS", (499,))
    name = tmp_path / "blocks.v1"
    arguments = ("train", "rank-blocks", "nano-teacher", "-o", name, "--clips", 1, "--frames", 2)
    code, said, err = run(capsys, *arguments, "--metric", "none", "--budget", 0.5)
    assert code == 0, err
    assert "| proposed map |" in said
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {f"blocks.v1{end}" for end in (".json", ".md", ".png", "-map.json")}
    record = json.loads((tmp_path / "blocks.v1.json").read_text())
    mapping = json.loads((tmp_path / "blocks.v1-map.json").read_text())
    assert map_without(NANO_TEACHER, set(record["maps"]["proposed map"])) == mapping
    published = map_to(NANO_TEACHER, UNetConfig.from_preset("hummingbird-nano"))
    assert map_without(NANO_TEACHER, set(record["maps"]["published map"])) == published
    pruned = tmp_path / "student.safetensors"
    options = ("-o", pruned, "--map", tmp_path / "blocks.v1-map.json")
    assert run(capsys, "train", "prune", "nano-teacher", *options)[0] == 0
    assert load_checkpoint(pruned).preset == "hummingbird-nano"
    assert "with other settings" in error_of(capsys, *arguments, "--metric", "math:sqrt")


def test_what_cannot_be_ranked(capsys, tmp_path, teacher):
    command = ("train", "rank-blocks", "nano-teacher", "-o", tmp_path / "blocks")
    assert "a budget between 0 and 1" in error_of(capsys, *command, "--budget", 2)
    assert "the share of the smallest student" in error_of(capsys, *command, "--budget", 0.3)
    assert not (tmp_path / "blocks.json").exists()  # found before anything was measured
    torch.save(teacher.state_dict(), tmp_path / "tiny.pt")
    bare = ("train", "rank-blocks", tmp_path / "tiny.pt", *command[3:])
    assert "got no clips to measure on" in error_of(capsys, *bare)
    assert "without VAE or text encoder" in error_of(capsys, *bare, "--data", "videos")


def test_the_title_says_what_was_measured():
    settings = {"teacher": "nano-teacher", "clips": 8, "frames": 16, "timesteps": [999, 500]}
    settings |= {"metric": "nano", "prompts": 12, "steps": 10, "guidance": 7.5}
    text = "nano-teacher: 8 clips of 16 frames at t = 999, 500"
    nano = ranking_title(settings)
    assert nano.startswith(f"{text}; score: share of what 12 held-out prompts say that ")
    assert ranking_title({**settings, "metric": "mine:score"}) == f"{text}; score: mine:score"
    assert ranking_title({**settings, "metric": "none"}) == text
