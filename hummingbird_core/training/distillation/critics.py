"""Objectives with a critic: a second model that is trained in turn with the student.

`make_critics` makes the models of a recipe's objectives, such as the fake score of `distribution`,
and the phases of the training loop that train them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...terminal import get_logger
from ..configs import check_field
from ..loop.distributed import distributed_state
from ..loop.micro_batch import MicroBatch
from ..loop.phase import Phase
from .predictions import Models
from .step import Objective, Step

logger = get_logger(__name__)

WATCHED_LOSSES = 100  # micro-batches whose mean is judged


@dataclass(frozen=True, kw_only=True)
class CriticObjective(Objective):
    """A term that needs a second model, trained in turn with the student (see `loop.phase`).

    The model is in `Step.models.critics` by `critic_name`.

    Args:
        updates: of the critic in a training step, before the student's own.
        critic_learning_rate: peak value; null: that of the run.
    """

    critic_name: ClassVar[str]
    updates: int = 2
    critic_learning_rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field(self, "updates", "at least 1", self.updates >= 1)
        rate = self.critic_learning_rate
        is_rate = rate is None or 0 < rate < math.inf
        check_field(self, "critic_learning_rate", "more than 0, or null", is_rate)

    @abstractmethod
    def make_critic(self, models: Models, seed: int) -> nn.Module:
        """Return the critic; its parameters that require gradients are trained."""

    @abstractmethod
    def critic_loss(self, step: Step) -> Tensor:
        """Return the critic's own loss: a scalar."""

    def fault(self, mean_loss: float) -> str:
        """Return what is wrong if the mean loss of many updates is this; "": nothing."""
        return ""


class StepLoss(Protocol):
    """A loss that draws steps of its models: on clips, or on paths of the teacher."""

    @property
    def models(self) -> Models:
        """Student, teacher and critics."""
        ...

    def draw(self, micro_batch: MicroBatch) -> Step:
        """Read and noise the clips of a micro-batch."""
        ...


def make_critics(objectives: Mapping[str, Objective], loss: StepLoss, seed: int) -> list[Phase]:
    """Make the critics of the objectives that need one, and the phases that train them.

    Raises:
        InputError: two objectives need the same critic, or one is not used in every step.
    """
    phases: list[Phase] = []
    for name, objective in objectives.items():
        if not isinstance(objective, CriticObjective):
            continue
        critics = loss.models.critics
        if objective.critic_name in critics or objective.every != 1 or objective.processes:
            raise InputError(
                f"got {name} with every, processes, or a second {objective.critic_name}, expected "
                "each critic once, for every step and process"
            )
        critics[objective.critic_name] = objective.make_critic(loss.models, seed)
        phases.append(critic_phase(objective, loss))
    return phases


@dataclass
class CriticWatch:
    """Warns when the losses of a critic say that the student learns nothing from it.

    Attributes:
        objective: knows what its critic's losses mean.
        losses: since the last look; on the device, to be read once in `WATCHED_LOSSES`.
    """

    objective: CriticObjective
    losses: list[Tensor] = field(default_factory=list)

    def add(self, step: int, loss: Tensor) -> None:
        """Take the loss of a micro-batch; look at the mean of every `WATCHED_LOSSES`."""
        self.losses.append(loss)
        if len(self.losses) < WATCHED_LOSSES:
            return
        mean = torch.stack(self.losses).mean().item()
        self.losses.clear()
        fault = self.objective.fault(mean)
        if fault and distributed_state().is_main_process:
            name = self.objective.critic_name
            logger.warning("step %d: the mean loss of the %s is %.3g: %s", step, name, mean, fault)


def critic_phase(objective: CriticObjective, loss: StepLoss) -> Phase:
    """Return the phase that trains the critic of an objective."""
    watch = CriticWatch(objective)

    def critic_loss(micro_batch: MicroBatch) -> dict[str, Tensor]:
        value = objective.critic_loss(loss.draw(micro_batch))
        watch.add(micro_batch.step, value.detach())
        return {"loss": value}

    return Phase(
        objective.critic_name,
        loss.models.critics[objective.critic_name],
        critic_loss,
        updates=objective.updates,
        learning_rate=objective.critic_learning_rate,
    )
