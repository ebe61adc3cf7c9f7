"""The training loop on a linear model: results, validation and settings."""

from __future__ import annotations

import json

import pytest
import torch
from support.linear_training import fit, linear, losses, losses_of, regression, settings
from torch import nn

from hummingbird_core.errors import InputError
from hummingbird_core.training.loop.distributed import distribute, make_accelerator
from hummingbird_core.training.loop.micro_batch import MicroBatch


def test_training_reaches_its_goal(tmp_path):
    model = fit(tmp_path, steps=200, decay="cosine", ema_decay=0.9)
    torch.testing.assert_close(model.weight, torch.ones(1, 4), atol=0.02, rtol=0)
    assert not model.training
    assert losses(tmp_path)[-1] < 0.01 * losses(tmp_path)[0]


def test_gradient_accumulation_changes_nothing(tmp_path):
    whole, parts = fit(tmp_path / "a"), fit(tmp_path / "b", micro_batch=2)
    torch.testing.assert_close(whole.weight, parts.weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(losses(tmp_path / "a"), losses(tmp_path / "b"), atol=1e-6, rtol=0)


def test_the_result_is_the_average(tmp_path):
    """By hand: the decay of step s is min(0.5, (1 + s) / (10 + s))."""
    weights = []
    model = linear()
    loss = regression(model)

    def remembering(micro_batch):
        weights.append(model.weight.detach().clone())
        return loss(micro_batch)

    average = fit(tmp_path / "a", model, remembering, steps=3, ema_decay=0.5).weight.detach()
    weights.append(fit(tmp_path / "b", steps=3).weight.detach())
    expected = weights[0]
    for step, after in enumerate(weights[1:]):
        expected = expected.lerp(after, 1 - (1 + step) / (10 + step))
    torch.testing.assert_close(average, expected)


def test_dropout_is_drawn_from_the_run_and_not_from_the_caller(tmp_path):
    def run(name: str) -> list[float]:
        model = nn.Sequential(nn.Dropout(0.5), linear())
        before = torch.get_rng_state()
        fit(tmp_path / name, model, steps=3)
        assert torch.equal(torch.get_rng_state(), before)
        return losses(tmp_path / name)

    first = run("a")
    assert run("b") == first
    assert first != losses_of(tmp_path / "plain", steps=3)


def test_bf16_computes_in_half_precision_and_keeps_the_weights(tmp_path):
    seen = []
    model = linear()

    def loss(micro_batch):
        out = model(torch.ones(1, 4))
        seen.append(out.dtype)
        return {"error": (out.float() - 1).square().mean()}

    with pytest.MonkeyPatch.context() as patch:
        # accelerate keeps one precision for a whole process, and the other tests use another.
        from accelerate.state import AcceleratorState

        patch.setattr(AcceleratorState, "_shared_state", {})
        fit(tmp_path, model, loss, precision="bf16", steps=2)
    assert seen == [torch.bfloat16] * 2
    assert model.weight.dtype == torch.float32


def test_a_warm_up_longer_than_the_run_is_said_once(tmp_path, caplog):
    fit(tmp_path / "a", steps=4, warmup=10)
    (record,) = caplog.records
    message = "the warm-up of 10 steps is longer than the run of 4: the learning rate reaches 0.02"
    assert record.getMessage() == f"{message} of 0.05"
    caplog.clear()
    fit(tmp_path / "a", steps=4, warmup=10)  # finished: nothing is trained
    fit(tmp_path / "b", steps=4, warmup=4)
    assert not caplog.records


def test_every_line_of_the_losses_names_its_terms(tmp_path):
    fit(tmp_path, steps=2, warmup=2)
    first = json.loads((tmp_path / "fit.losses.jsonl").read_text().splitlines()[0])
    terms = {"step", "loss", "error", "size"}
    assert first.keys() == {*terms, "gradient_norm", "learning_rate", "seconds"}
    assert first["learning_rate"] == 0.025
    assert first["loss"] == pytest.approx(first["error"] + first["size"])


def test_long_gradients_are_cut(tmp_path):
    def steep(micro_batch):
        return {"error": 1e6 * model.weight.sum()}

    model = linear()
    fit(tmp_path, model, steep, steps=1, learning_rate=1.0, clip_norm=1e-9)
    # AdamW's epsilon of 1e-8 is larger than what is left of the gradient.
    assert 0 < model.weight.abs().max() < 0.2


def test_validation_sees_the_average_without_dropout(tmp_path):
    model, seen = linear(), []

    def validate(done: int) -> None:
        seen.append((done, model.weight.detach().clone(), model.training, torch.is_grad_enabled()))

    fit(tmp_path, model, validate=validate, steps=5, validate_every=2, ema_decay=0.9)
    result = fit(tmp_path / "four", steps=4, ema_decay=0.9)
    assert [entry[0] for entry in seen] == [0, 2, 4, 5]
    assert not seen[0][1].any()
    torch.testing.assert_close(seen[2][1], result.weight.detach())
    assert not any(is_training or has_grad for _, _, is_training, has_grad in seen)


def test_validation_leaves_the_randomness_of_training_alone(tmp_path):
    def validate(done: int) -> None:
        torch.rand(3)

    def run(name: str, **changes) -> list[float]:
        model = nn.Sequential(nn.Dropout(0.5), linear())
        fit(tmp_path / name, model, validate=validate, steps=4, **changes)
        return losses(tmp_path / name)

    assert run("with", validate_every=1) == run("without")


def test_weights_of_two_precisions_cannot_be_sharded():
    """Such as a LoRA on half-precision weights; FSDP2 ended with an assertion."""
    mixed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, dtype=torch.bfloat16))
    sharded = settings(sharding="fsdp2")
    with pytest.raises(InputError, match="weights in bfloat16 and float32, expected one precision"):
        distribute(make_accelerator(settings()), mixed, sharded)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "got steps 0, expected at least 1"),
        ({"learning_rate": -1.0}, "got learning_rate -1.0, expected more than 0"),
        ({"ema_decay": 1.0}, "got ema_decay 1.0, expected 0 to below 1"),
        ({"batch": 6, "micro_batch": 4}, "got a batch of 6 clips, expected a multiple of 4"),
        ({"precision": "fp16"}, "got precision fp16, expected one that works here: try bf16"),
        ({"sharding": "fsdp2"}, "got sharding fsdp2 in one process, expected several"),
    ],
)
def test_bad_settings(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        fit(tmp_path, **changes)


def test_nothing_to_train(tmp_path):
    with pytest.raises(InputError, match="got fit with all weights frozen"):
        fit(tmp_path, linear().requires_grad_(False))


def test_eight_bits_fall_back_to_32_and_say_so(tmp_path, caplog):
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        fit(tmp_path, steps=1, optimizer="adamw8bit")
        assert "bitsandbytes is not installed" in caplog.text
    else:
        pytest.skip("bitsandbytes is installed")


def test_rates():
    cosine = settings(steps=110, warmup=10, decay="cosine", learning_rate=1.0)
    assert cosine.rate(0) == 0.1
    assert cosine.rate(10) == 1.0
    assert cosine.rate(60) == pytest.approx(0.525)
    assert cosine.rate(110) == pytest.approx(0.05)
    assert settings(warmup=10).rate(19) == 0.05


def test_no_two_parts_draw_alike():
    parts = [MicroBatch(0, step, index, count=2, size=2) for step in range(3) for index in range(2)]
    seeds = [g.initial_seed() for part in parts for g in part.clip_generators()]
    assert len(set(seeds)) == 12
    whole = MicroBatch(0, 1, 0, count=1, size=4)
    cut = [g for index in range(2) for g in MicroBatch(0, 1, index, 2, 2).clip_generators()]
    assert [g.initial_seed() for g in whole.clip_generators()] == [g.initial_seed() for g in cut]
    assert parts[2].step_generator().initial_seed() == parts[3].step_generator().initial_seed()
