"""Several optimizers in one run, on linear models: a critic, and a student that it judges."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from hummingbird_core.errors import CheckpointError, InputError
from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.loop.phase import Phase
from hummingbird_core.training.loop.progress import read_losses
from hummingbird_core.training.loop.trainer import train

SEEDS, LAYER_SEED = [1047885334, 2028208980], 3893819121
SETTINGS = TrainConfig(steps=6, learning_rate=0.05, batch=4, save_every=2, ema_decay=0.5)


def linear(inputs: int) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(inputs, 1)


class Duel:
    """A student that learns a sum, a critic that learns to see its error, and who was updated."""

    def __init__(self, interrupt_at: int = -1) -> None:
        self.student, self.critic = linear(4), linear(5)
        self.interrupt_at, self.updates = interrupt_at, []

    def critic_loss(self, micro_batch: MicroBatch) -> dict[str, torch.Tensor]:
        self._note("critic", micro_batch)
        x, out = self._pairs(micro_batch)
        error = (out.detach() - x.sum(1, keepdim=True)).abs()
        if micro_batch.step == self.interrupt_at:
            signal.raise_signal(signal.SIGINT)
        return {"judged": (self._judge(x, out.detach()) - error).square().mean()}

    def student_loss(self, micro_batch: MicroBatch) -> dict[str, torch.Tensor]:
        self._note("student", micro_batch)
        x, out = self._pairs(micro_batch)
        plain = (out - x.sum(1, keepdim=True)).square().mean()
        return {"plain": plain, "judged": 0.1 * self._judge(x, out).mean()}

    def phase(self, **changes) -> Phase:
        usual = Phase("critic", self.critic, self.critic_loss, updates=2, learning_rate=0.01)
        return replace(usual, **changes)

    def fit(self, folder, settings=SETTINGS, **changes) -> Duel:
        train(
            "duel",
            self.student,
            self.student_loss,
            settings,
            folder,
            phases=[self.phase(**changes)],
        )
        return self

    def _pairs(self, micro_batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.stack([torch.randn(4, generator=g) for g in micro_batch.clip_generators()])
        return x, self.student(x)

    def _judge(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        return self.critic(torch.cat([x, out], dim=1))

    def _note(self, who: str, micro_batch: MicroBatch) -> None:
        weights = (self.student.weight, self.critic.weight)
        frozen = tuple(not weight.requires_grad for weight in weights)
        self.updates.append((who, micro_batch.step, frozen))


def lines(folder) -> list[dict]:
    """Return the numbers of each step but its duration, which differs from run to run."""
    found = read_losses(folder / "duel.losses.jsonl")
    return [{name: line[name] for name in line if name != "seconds"} for line in found]


def test_each_step_has_its_duration(tmp_path):
    Duel().fit(tmp_path, replace(SETTINGS, steps=2))
    for line in read_losses(tmp_path / "duel.losses.jsonl"):
        assert 0 < line["seconds"] < 60  # of the step, not of the run


def test_phases_take_turns_and_freeze_each_other(tmp_path):
    duel = Duel().fit(tmp_path, replace(SETTINGS, steps=2))
    critic, student = (True, False), (False, True)
    assert duel.updates == [
        ("critic", 0, critic),
        ("critic", 1, critic),
        ("student", 0, student),
        ("critic", 2, critic),
        ("critic", 3, critic),
        ("student", 1, student),
    ]
    assert duel.student.weight.requires_grad
    assert duel.critic.weight.requires_grad


def test_a_step_equals_the_updates_by_hand(tmp_path):
    """Two AdamW updates of the critic alone, then one of the student alone."""
    settings = replace(SETTINGS, steps=1, clip_norm=0.0, ema_decay=0.0)
    got = Duel().fit(tmp_path, settings)
    expected = Duel()
    student = torch.optim.AdamW(expected.student.parameters(), lr=0.05, weight_decay=0.0)
    critic = torch.optim.AdamW(expected.critic.parameters(), lr=0.01, weight_decay=0.0)
    for optimizer, loss, phase, updates in (
        (critic, expected.critic_loss, "critic", 2),
        (student, expected.student_loss, "", 1),
    ):
        for number in range(updates):
            optimizer.zero_grad()
            sum(loss(MicroBatch(0, number, size=4, phase=phase)).values()).backward()
            optimizer.step()
    torch.testing.assert_close(got.student.weight, expected.student.weight)
    torch.testing.assert_close(got.critic.weight, expected.critic.weight)


def test_the_critic_learns_and_the_numbers_are_named(tmp_path):
    Duel().fit(tmp_path, replace(SETTINGS, steps=60, warmup=10), betas=(0.0, 0.9))
    first, *_, last = lines(tmp_path)
    assert list(first)[:4] == ["step", "loss", "plain", "judged"]
    assert first["critic/learning_rate"] == pytest.approx(0.001)
    assert {"critic/loss", "critic/judged", "critic/gradient_norm"} < first.keys()
    assert last["critic/loss"] < 0.5 * first["critic/loss"]
    state = torch.load(tmp_path / "duel.state.pt", weights_only=True)
    (group,) = state["phases"]["critic"]["optimizer"]["param_groups"]
    assert group["betas"] == (0.0, 0.9)


@pytest.mark.parametrize("interrupt_at", [4, 5])
def test_a_run_interrupted_in_a_phase_resumes_exactly(tmp_path, interrupt_at):
    straight = Duel().fit(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        Duel(interrupt_at).fit(tmp_path / "resumed")
    assert len(lines(tmp_path / "resumed")) == 3
    resumed = Duel().fit(tmp_path / "resumed")
    assert lines(tmp_path / "resumed") == lines(tmp_path / "straight")
    assert torch.equal(resumed.student.weight, straight.student.weight)
    assert torch.equal(resumed.critic.weight, straight.critic.weight)


def test_a_run_that_fails_in_a_phase_resumes_from_the_last_state(tmp_path):
    def fails(micro_batch: MicroBatch) -> dict[str, torch.Tensor]:
        if micro_batch.step == 7:
            raise RuntimeError
        return duel.critic_loss(micro_batch)

    duel = Duel()
    with pytest.raises(RuntimeError):
        duel.fit(tmp_path, loss=fails)
    assert duel.student.weight.requires_grad  # thawed, although the phase failed
    Duel().fit(tmp_path)
    Duel().fit(tmp_path / "straight")
    assert lines(tmp_path) == lines(tmp_path / "straight")


def test_a_phase_draws_other_numbers_and_the_first_keeps_its_own():
    """The seeds of runs that began before there were phases."""
    micro_batch = MicroBatch(7, 3, 1, count=2, size=2)
    assert micro_batch.clip_seeds == SEEDS
    assert micro_batch.layer_seed == LAYER_SEED
    critic = replace(micro_batch, phase="critic")
    assert not set(critic.clip_seeds) & set(SEEDS)
    assert critic.layer_seed != LAYER_SEED


def test_states_without_phases_still_load(tmp_path):
    train("duel", (model := linear(4)), Duel().student_loss, SETTINGS, tmp_path)
    path = tmp_path / "duel.state.pt"
    state = torch.load(path, weights_only=True)
    assert state.pop("phases") == {}
    torch.save(state, path)
    train("duel", (again := linear(4)), Duel().student_loss, SETTINGS, tmp_path)
    assert torch.equal(again.weight, model.weight)


def test_the_phases_of_a_state_must_be_those_of_the_run(tmp_path):
    Duel().fit(tmp_path)
    with pytest.raises(CheckpointError, match="with the phases critic, expected none"):
        train("duel", linear(4), Duel().student_loss, SETTINGS, tmp_path)
    with pytest.raises(CheckpointError, match="with the phases critic, expected other"):
        Duel().fit(tmp_path, name="other")
    with pytest.raises(CheckpointError, match="holds the training of another model"):
        Duel().fit(tmp_path, model=linear(6))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates": 0}, "got updates 0, expected at least 1"),
        ({"name": "a/b"}, "got name a/b, expected letters, digits, - and _"),
        ({"learning_rate": 0.0}, "got learning_rate 0.0, expected more than 0"),
        ({"betas": (0.9, 1.0)}, r"got betas \(0.9, 1.0\), expected two numbers"),
        ({"model": linear(4).requires_grad_(False)}, "got critic with all weights frozen"),
    ],
)
def test_bad_phases(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        Duel().fit(tmp_path, **changes)


def test_weights_belong_to_one_phase(tmp_path):
    duel = Duel()
    with pytest.raises(InputError, match="got weights that both duel and critic train"):
        duel.fit(tmp_path, model=duel.student)
    two = [duel.phase(), duel.phase(model=linear(3))]
    with pytest.raises(InputError, match="got phases critic, critic, expected names that differ"):
        train("duel", duel.student, duel.student_loss, SETTINGS, tmp_path, phases=two)
