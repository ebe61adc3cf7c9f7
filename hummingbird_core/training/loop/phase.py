"""Phases of a training step: each updates one kind of weights, with its own optimizer and loss.

A step of adversarial or distribution-matching distillation (arXiv 2311.17042, 2405.14867) updates a
critic some times, then the student:

    critic = Phase("critic", heads, critic_loss, updates=2, learning_rate=1e-4)
    train("student", student, student_loss, settings, folder, phases=[critic])

While one phase is updated, the weights of all others are frozen: a loss may send gradients through
another phase's model, which stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ...errors import InputError
from ..configs import check_field
from .config import TrainConfig
from .micro_batch import MicroBatch

# The named terms of the loss of a micro-batch, each a mean over its clips; the sum is minimised.
Loss = Callable[[MicroBatch], dict[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Phase:
    """Weights that another optimizer trains in the same run.

    Args:
        name: letters, digits, "-" and "_"; for its numbers ("NAME/loss"), and its part of the
            training state.
        model: its parameters that require gradients are trained, and stored in the state.
        loss: as of `trainer.train`. Its micro-batches count the updates of this phase, and their
            random numbers are not those of other phases.
        updates: in a training step.
        learning_rate: peak value; warm-up and decay are those of the run. None: that of the run.
        betas: of AdamW; None: those of the run.
    """

    name: str
    model: nn.Module
    loss: Loss
    updates: int = 1
    learning_rate: float | None = None
    betas: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        is_name = re.fullmatch(r"[\w-]+", self.name) is not None
        check_field(self, "name", "letters, digits, - and _", is_name)
        check_field(self, "updates", "at least 1", self.updates >= 1)

    def config(self, run: TrainConfig) -> TrainConfig:
        """Return the settings of this phase in a run; only the first phase has an average."""
        given = {"learning_rate": self.learning_rate, "betas": self.betas}
        changes = {name: value for name, value in given.items() if value is not None}
        return replace(run, ema_decay=0.0, **changes)  # type: ignore[arg-type]


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that require gradients."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def check_phases(name: str, model: nn.Module, phases: Sequence[Phase]) -> None:
    """Raise InputError for a phase without weights to train, or for weights of two phases."""
    owners: dict[nn.Parameter, str] = {}
    models = [(name, model), *((phase.name, phase.model) for phase in phases)]
    for owner, module in models:
        trained = trained_parameters(module)
        if not trained:
            raise InputError(f"got {owner} with all weights frozen, expected some to train")
        for parameter in trained:
            if parameter in owners:
                raise InputError(
                    f"got weights that both {owners[parameter]} and {owner} train, expected them "
                    "in one: freeze them in the other, or give it a copy"
                )
            owners[parameter] = owner
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise InputError(f"got phases {', '.join(names)}, expected names that differ: rename one")


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Keep gradients from parameters inside the block; they still flow through to the inputs."""
    parameters = list(parameters)
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
