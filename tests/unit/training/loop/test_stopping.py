"""The training loop on a linear model: what stops a run, and how it goes on."""

from __future__ import annotations

import math
import signal
import threading

import pytest
import torch
from support.linear_training import fit, linear, losses, losses_of, regression, settings
from torch import nn

from hummingbird_core.errors import CheckpointError, InputError, NumericalError
from hummingbird_core.training.loop.progress import read_losses
from hummingbird_core.training.loop.trainer import MAX_BAD_STEPS, defer_interrupt, train


def test_the_same_model_is_trained_further(tmp_path):
    """It still has the gradients of its last step."""
    model = fit(tmp_path, steps=3)
    assert model.weight.grad is not None
    fit(tmp_path, model, steps=5)
    assert losses(tmp_path) == losses_of(tmp_path / "whole", steps=5)


def test_a_finished_run_is_only_read_again(tmp_path):
    first = fit(tmp_path, ema_decay=0.9)
    again = fit(tmp_path, ema_decay=0.9, loss=lambda micro_batch: pytest.fail("it trained again"))
    assert torch.equal(again.weight, first.weight)


def test_fewer_steps_than_are_done_are_refused(tmp_path):
    fit(tmp_path, steps=5)
    message = r"got steps 4 for a run that has done 5 \(.*fit.state.pt\), expected 5 or more"
    with pytest.raises(InputError, match=message):
        fit(tmp_path, steps=4)
    assert len(losses(tmp_path)) == 5


def test_what_was_reported_after_the_last_state_is_reported_anew(tmp_path):
    def dies_at_13(micro_batch):
        if micro_batch.step == 13:
            raise RuntimeError
        return regression(model)(micro_batch)

    model = linear()
    with pytest.raises(RuntimeError):
        fit(tmp_path, model, dies_at_13, save_every=5)
    file = tmp_path / "fit.losses.jsonl"
    file.write_text(file.read_text() + '{"step": 13, "lo')  # a line that a kill broke
    fit(tmp_path, save_every=5)
    fit(tmp_path / "straight")
    assert [line["step"] for line in read_losses(file)] == list(range(20))
    assert losses(tmp_path) == losses(tmp_path / "straight")


def test_a_resumed_run_validates_neither_start_nor_end_again(tmp_path):
    seen = []
    for steps in (4, 4, 6):
        fit(tmp_path, validate=seen.append, steps=steps, validate_every=4)
    assert seen == [0, 4, 6]
    fit(tmp_path / "without", validate=seen.append, steps=1)
    assert seen == [0, 4, 6]


def test_nan_ends_a_run_after_some_steps_and_leaves_the_weights(tmp_path):
    model = linear()
    loss = regression(model)

    def broken(micro_batch):
        terms = loss(micro_batch)
        return terms if micro_batch.step < 3 else {**terms, "size": terms["size"] + math.nan}

    with pytest.raises(NumericalError, match=r"for loss, size in 20 steps .*step 22, "):
        fit(tmp_path, model, broken, steps=100)
    assert len(losses(tmp_path)) == 3 + MAX_BAD_STEPS
    assert torch.equal(model.weight, fit(tmp_path / "three", steps=3).weight)


@pytest.mark.parametrize(("steps", "bad"), [(12, 1), (5, 2), (1, 0)])
def test_nan_in_the_last_steps_ends_a_run_without_a_result(tmp_path, steps, bad):
    model = linear()
    loss = regression(model)

    def broken(micro_batch):
        factor = math.nan if micro_batch.step >= bad else 1
        return {name: term * factor for name, term in loss(micro_batch).items()}

    with pytest.raises(NumericalError, match=rf"in {steps - bad} steps in a row"):
        fit(tmp_path, model, broken, steps=steps)
    assert not (tmp_path / "fit.state.pt").exists()
    if bad:
        assert torch.equal(model.weight, fit(tmp_path / "before", steps=bad).weight)


def test_one_bad_step_is_left_out(tmp_path):
    model = linear()
    loss = regression(model)

    def broken(micro_batch):
        return {
            k: v * (math.inf if micro_batch.step == 3 else 1) for k, v in loss(micro_batch).items()
        }

    fit(tmp_path, model, broken, steps=60, ema_decay=0.5)
    torch.testing.assert_close(model.weight, torch.ones(1, 4), atol=0.3, rtol=0)


def test_ctrl_c_finishes_the_step_saves_and_goes_on_later(tmp_path):
    model = linear()
    loss = regression(model)

    def interrupted(micro_batch):
        if micro_batch.step == 7:
            signal.raise_signal(signal.SIGINT)
        return loss(micro_batch)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, model, interrupted, save_every=100)
    assert len(losses(tmp_path)) == 8
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fit(tmp_path, save_every=100)
    fit(tmp_path / "straight")
    assert losses(tmp_path) == losses(tmp_path / "straight")


def test_a_second_ctrl_c_does_not_wait():
    with defer_interrupt() as seen:
        signal.raise_signal(signal.SIGINT)
        assert seen.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_other_threads_leave_ctrl_c_alone():
    seen = []

    def work() -> None:
        with defer_interrupt() as event:
            seen.append(event.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_the_state_of_another_model(tmp_path):
    fit(tmp_path, steps=1)
    other = nn.Linear(5, 1)
    with pytest.raises(CheckpointError, match=r"another model \(they differ in weight\)"):
        train("fit", other, regression(other), settings(), tmp_path)


def test_the_state_of_another_optimizer(tmp_path):
    fit(tmp_path, steps=1)
    state = torch.load(tmp_path / "fit.state.pt", weights_only=True)
    torch.save({**state, "optimizer_name": "AdamW8bit"}, tmp_path / "fit.state.pt")
    with pytest.raises(CheckpointError, match="which AdamW8bit made, expected the state of AdamW:"):
        fit(tmp_path)


def test_weight_decay_and_betas_are_those_of_the_last_start(tmp_path):
    """The state of the optimizer brought its old ones back."""
    changed = {"weight_decay": 0.5, "betas": (0.5, 0.6)}
    fit(tmp_path, steps=1, learning_rate=1e-3)
    fit(tmp_path, steps=2, learning_rate=1e-3, **changed)
    (group,) = torch.load(tmp_path / "fit.state.pt", weights_only=True)["optimizer"]["param_groups"]
    assert {key: group[key] for key in changed} == changed


def test_a_damaged_state(tmp_path):
    fit(tmp_path, steps=1)
    state = tmp_path / "fit.state.pt"
    state.write_bytes(state.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="which is damaged, expected the state of a run"):
        fit(tmp_path)
