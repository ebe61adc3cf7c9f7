"""Objectives on tiny models: what they measure, that they can be learned, and who computes them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from support.tiny_training import (
    FRAMES,
    GRID,
    MICRO_BATCH,
    OWN,
    STAGE_1,
    STUDENT,
    TEACHER,
    a_step,
    tiny_loss,
    tiny_models,
)

from hummingbird_core.errors import InputError
from hummingbird_core.sampling import add_noise, latent_scale
from hummingbird_core.training.data.batch import batch_of
from hummingbird_core.training.data.nano_clips import NanoClips
from hummingbird_core.training.distillation.losses import (
    Consistency,
    FeatureKD,
    OutputKD,
    RewardFeedback,
    check_objectives,
)
from hummingbird_core.training.distillation.noise import NoiseConfig
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.distillation.stage import make_objectives
from hummingbird_core.training.distillation.step import weighted_terms
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.loop.modules import freeze
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.pruning.block_map import map_to
from hummingbird_core.training.rewards.decoding import decode_for_reward


@dataclass(frozen=True)
class Brightness:
    """The simplest real reward: light frames; it looks at two of them."""

    name: str = "brightness"

    def __call__(self, frames, captions, generator):
        assert frames.shape[:3] == (len(captions), 3, 2)
        return frames.mean(dim=(1, 2, 3, 4))

    def frames_needed(self, num_frames, generator):
        return torch.tensor([0, num_frames - 1])


SMALLER_DECODER = ("objectives.rewards.seen.decoder=middle",)


@pytest.fixture(scope="module")
def vae():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = build_vae()
    freeze(vae, "fp32")
    return vae


def reward(vae, **settings) -> RewardFeedback:
    return RewardFeedback(reward=Brightness(), vae=vae, **settings)


# --- What they measure ----------------------------------------------------------------------------


def test_output_kd_is_the_papers_loss():
    """MSE to uncond + 12 (cond - uncond), on latents scaled by 1.0 to 0.7."""
    step = a_step(settings=STAGE_1)
    models, told = step.models, step.conditions
    scale = latent_scale()[step.t].float().reshape(-1, 1, 1, 1, 1)
    latents = batch_of(NanoClips(FRAMES), MICRO_BATCH).latents
    noise, _ = MICRO_BATCH.draw(latents.shape[1:], 2)
    sample = add_noise(scale * latents, noise, step.t)
    cond = models.teacher(sample, step.t, told.context, fps=told.fps)
    uncond = models.teacher(sample, step.t, told.null_context, fps=told.fps)
    student = models.student(sample, step.t, told.context, fps=told.fps)  # told no guidance
    expected = (student - (uncond + 12 * (cond - uncond))).square().mean()
    torch.testing.assert_close(OutputKD()(step), expected)


def test_x0_weighting_counts_errors_at_high_noise_more():
    step = a_step(settings=replace(GRID, timesteps="bins"))
    assert OutputKD(weighting="x0")(step) > OutputKD()(step)


def test_output_kd_leaves_out_clips_of_more_noise():
    step = a_step()
    limit = int(step.t.min())
    assert limit < step.t.max()
    errors = (step.student.eps - step.teacher.eps).square().mean(dim=(1, 2, 3, 4))
    expected = errors[step.t == limit].sum() / len(step.t)
    torch.testing.assert_close(OutputKD(max_timestep=limit)(step), expected)
    with pytest.raises(InputError, match="max_timestep 1000"):
        OutputKD(max_timestep=1000)


def test_feature_kd_is_zero_for_what_was_copied_and_one_for_silence():
    models = tiny_models()
    step = a_step(replace(models, kept_blocks={"input_blocks.0": "input_blocks.0"}))
    assert FeatureKD()(step) < 1e-9
    with torch.no_grad():
        for parameter in models.student.input_blocks[0].parameters():
            parameter.zero_()
    silent = a_step(replace(models, kept_blocks={"input_blocks.0": "input_blocks.0"}))
    assert FeatureKD()(silent).item() == pytest.approx(1.0)


def test_feature_kd_sums_over_the_blocks_of_the_map():
    models = tiny_models()
    pairs = map_to(TEACHER, STUDENT)
    total = FeatureKD()(a_step(replace(models, kept_blocks=pairs)))
    single = [
        FeatureKD()(a_step(replace(models, kept_blocks=dict([pair])))) for pair in pairs.items()
    ]
    torch.testing.assert_close(total, torch.stack(single).sum())
    assert total > 0
    assert not models.student.input_blocks[0]._forward_hooks


def test_features_survive_gradient_checkpointing():
    models = replace(tiny_models(), kept_blocks=map_to(TEACHER, STUDENT))
    plain = FeatureKD()(a_step(models))
    plain.backward()
    gradients = [p.grad.clone() for p in models.student.parameters() if p.grad is not None]
    models.student.zero_grad()
    models.student.gradient_checkpointing = True
    again = FeatureKD()(a_step(models))
    again.backward()
    torch.testing.assert_close(again, plain)
    torch.testing.assert_close(
        [p.grad for p in models.student.parameters() if p.grad is not None], gradients
    )


def test_a_reward_decodes_what_it_needs_and_reaches_the_student(vae):
    step = a_step()
    loss = reward(vae, weight=2.0)(step)
    with torch.no_grad():
        frames = vae.decode(
            (step.denoised / vae.config.scaling_factor)[:, :, [0, 2]].transpose(1, 2).flatten(0, 1)
        ).sample
    torch.testing.assert_close(loss, -2.0 * frames.mean(), atol=1e-5, rtol=1e-4)
    loss.backward()
    assert step.models.student.out[2].weight.grad.abs().sum() > 0


def test_a_reward_can_use_a_smaller_decoder(vae):
    recipe = read_recipe("nano-tune", ["objectives.rewards.seen.kind=agreement", *SMALLER_DECODER])
    objective = make_objectives(recipe, vae)["seen"]
    step = a_step()
    objective(step).backward()
    small, full = (
        sum(p.numel() for p in model.decoder.parameters()) for model in (objective.vae, vae)
    )
    assert small < full / 2
    assert any(p.grad is not None for p in step.models.student.parameters())


def test_a_decoder_of_another_model_is_refused_for_a_reward(vae):
    recipe = read_recipe("nano-tune", ["objectives.rewards.seen.kind=agreement", *SMALLER_DECODER])
    other = copy.deepcopy(vae)
    other.register_to_config(scaling_factor=7.0)
    with pytest.raises(InputError, match="scaled by"):
        make_objectives(recipe, other)


def test_a_reward_can_leave_out_clips_of_much_noise(vae):
    step = a_step(micro_batch=MicroBatch(seed=0, step=1, size=2))
    low, high = step.t.sort().values.tolist()
    assert low < high
    clearer = step.t.argmin().item()
    one = reward(vae, max_timestep=low)(step)
    alone = decode_for_reward(vae, step.denoised[[clearer]], torch.tensor([0, FRAMES - 1])).mean()
    torch.testing.assert_close(one, -alone / 2)  # the other scores 0
    one.backward()
    assert step.models.student.out[2].weight.grad.abs().sum() > 0
    none = reward(vae, max_timestep=low - 1)(a_step(micro_batch=MicroBatch(seed=0, step=1, size=2)))
    assert none == 0
    none.backward()  # every weight of a process without such a clip still gets a gradient


def test_a_reward_can_be_for_some_captions_only(vae):
    step = a_step(micro_batch=MicroBatch(seed=0, step=1, size=2))
    first, second = step.captions
    assert first != second
    one = reward(vae, captions=f"^{first}$")(step)
    alone = decode_for_reward(vae, step.denoised[:1], torch.tensor([0, FRAMES - 1])).mean()
    torch.testing.assert_close(one, -alone / 2)  # the other scores 0
    assert reward(vae, captions="no such caption")(step) == 0


def test_the_student_is_asked_once_for_all_objectives(vae):
    models, calls = tiny_models(), []
    models.student.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    objectives = {"output_kd": OutputKD(), "consistency": Consistency(), "reward": reward(vae)}
    weighted_terms(objectives, a_step(models))
    assert calls == [True, False]  # and once more without gradient, for the consistency target


def test_bf16_gives_the_student_its_gradients():
    """autocast keeps casts of weights: those made without gradient must not come first."""
    models = tiny_models()
    with torch.autocast("cpu", torch.bfloat16):
        loss = Consistency()(a_step(models))
    loss.backward()
    assert models.student.input_blocks[0][0].weight.grad.abs().sum() > 0


# --- They can be learned --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["output_kd", "feature_kd", "consistency", "reward"])
def test_each_objective_falls(name, vae):
    models = tiny_models()
    if name == "feature_kd":
        models = replace(models, kept_blocks=map_to(TEACHER, STUDENT))
    objective = {
        "output_kd": OutputKD(),
        "feature_kd": FeatureKD(),
        "consistency": Consistency(),
        "reward": reward(vae),
    }[name]
    loss = tiny_loss(models, objective=objective)
    optimizer = torch.optim.Adam(models.student.parameters(), 5e-3)
    values = []
    for _ in range(6):
        term = loss(MICRO_BATCH)["objective"]
        optimizer.zero_grad()
        term.backward()
        optimizer.step()
        values.append(term.item())
    assert values[-1] < values[0] - 0.05 * abs(values[0])


# --- Frozen models --------------------------------------------------------------------------------


def test_a_frozen_teacher_has_neither_dropout_nor_gradients():
    models = tiny_models(teacher=replace(TEACHER, dropout=0.5))
    models.teacher.train().requires_grad_(True)  # as the original left it
    freeze(models.teacher, "fp32")
    models.student.train()
    step = a_step(models)
    assert torch.equal(step.teacher.eps, a_step(models).teacher.eps)
    OutputKD()(step).backward()
    assert not any(p.requires_grad or p.grad is not None for p in models.teacher.parameters())
    assert all(p.grad is None for p in models.text_encoder.parameters())
    assert step.models.student.out[2].weight.grad is not None


# --- Who computes what, and when ------------------------------------------------------------------


def test_other_processes_give_zero_and_a_gradient_to_every_weight(vae):
    models = tiny_models()
    step = a_step(models, micro_batch=replace(MICRO_BATCH, process=3))
    terms = weighted_terms({"consistency": Consistency(processes=(0, 1, 2))}, step)
    assert terms["consistency"] == 0
    terms["consistency"].backward()
    assert all(p.grad is not None and not p.grad.any() for p in models.student.parameters())


def test_an_objective_is_due_every_so_many_steps(vae):
    objectives = {"consistency": Consistency(), "reward": reward(vae, every=3)}
    due = [
        set(weighted_terms(objectives, a_step(micro_batch=MicroBatch(seed=0, step=n, size=1))))
        for n in range(4)
    ]
    assert due == [{"consistency", "reward"}, {"consistency"}, {"consistency"}, set(objectives)]


@pytest.mark.parametrize(
    ("objectives", "processes", "message"),
    [
        ({}, 1, "got objectives none, expected one for every step"),
        ({"output_kd": OutputKD(every=2)}, 1, "expected one for every step"),
        ({"output_kd": OutputKD(processes=(0, 4))}, 4, "got process 4 for output_kd"),
        ({"output_kd": OutputKD(processes=(0,))}, 2, "got no objective for process 1"),
    ],
)
def test_roles_that_cannot_be(objectives, processes, message):
    with pytest.raises(InputError, match=message):
        check_objectives(objectives, processes)


def test_roles_are_refused_where_weights_are_sharded():
    """Consistency asks the student twice, the others once: the collectives would not match."""
    objectives = {"consistency": Consistency(processes=(0,)), "output_kd": OutputKD(processes=(1,))}
    check_objectives(objectives, 2, "none")
    with pytest.raises(InputError, match="got processes for consistency with sharding fsdp2"):
        check_objectives(objectives, 2, "fsdp2")
    check_objectives({"consistency": Consistency()}, 2, "fsdp2")


def test_the_originals_roles(vae):
    """Three processes distil and climb the image reward, one climbs the video reward."""
    first = {"processes": (0, 1, 2)}
    objectives = {
        "consistency": Consistency(**first),
        "image": reward(vae, **first),
        "video": reward(vae, weight=2.0, processes=(3,)),
    }
    check_objectives(objectives, 4)


# --- What a step draws ----------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [GRID, OWN])
def test_a_step_cut_into_parts_is_the_same_step(settings):
    models = tiny_models()
    whole = a_step(models, settings, MicroBatch(seed=0, step=5, size=4))
    parts = [a_step(models, settings, MicroBatch(0, 5, i, count=2, size=2)) for i in range(2)]
    for name in ("t", "sample"):
        torch.testing.assert_close(
            getattr(whole, name), torch.cat([getattr(part, name) for part in parts])
        )
    assert whole.captions == parts[0].captions + parts[1].captions
    assert torch.equal(whole.conditions.w, torch.cat([part.conditions.w for part in parts]))


def test_a_single_guidance_is_baked_in_and_a_range_is_told():
    assert not STAGE_1.condition_on_guidance
    assert GRID.condition_on_guidance
    models = tiny_models()
    with torch.no_grad():
        torch.nn.init.normal_(models.student.time_cond_proj.weight)
    told, baked = a_step(models), a_step(models, replace(GRID, guidance=(5.0, 5.0)))
    assert not torch.equal(told.student.eps, baked.student.eps)
    assert set(baked.conditions.w.tolist()) == {5.0}
    with pytest.raises(InputError, match=r"got guidance 9.0 to 1.0, expected 0 or more"):
        NoiseConfig(guidance=(9.0, 1.0))
    with pytest.raises(InputError, match="got cfg_start_timestep 500 and cfg_stop_timestep 400"):
        NoiseConfig(cfg_start_timestep=500, cfg_stop_timestep=400)
