"""The training state: the file from which a run resumes exactly.

It holds the trained weights (only the LoRA, if that is all), their average, the optimizer and the
loss scale. The learning rate and all random numbers are functions of the step's number, so they
need no state. Tensors are stored whole, not as shards: a run may resume with another number of
processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from ...errors import CheckpointError
from ...files import atomic_write, check_destination
from ...weights.tensor_files import TORCH_LOAD_ERRORS
from .ema import EMA

GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
TRAINED = StateDictOptions(ignore_frozen_params=True)
SCATTERED = StateDictOptions(full_state_dict=True, strict=False)  # without frozen weights


@dataclass(frozen=True)
class TrainingState:
    """Everything a run changes, with the file that stores it.

    Attributes:
        path: of the file.
        model: its parameters that require gradients are stored.
        optimizer: of these parameters.
        ema: their average, if any.
        scaler: loss scale, in fp16.
    """

    path: Path
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: EMA | None
    scaler: torch.amp.GradScaler | None

    def save(self, step: int, *, writes: bool) -> None:
        """Store the state after `step` steps; a kill leaves the older file intact.

        All processes call this, as each may hold a shard of the weights; the process that `writes`
        gathers them.
        """
        state = {
            "step": step,
            "optimizer_name": type(self.optimizer).__name__,
            "model": get_model_state_dict(self.model, options=GATHERED),
            "optimizer": get_optimizer_state_dict(self.model, self.optimizer, options=GATHERED),
            "ema": self._gather_average(),
            "scaler": self.scaler.state_dict() if self.scaler else {},
        }
        if writes:
            check_destination(self.path, overwrite=True)
            with atomic_write(self.path) as temporary, temporary.open("wb") as file:
                torch.save(state, file)

    def load(self) -> int:
        """Load the state; return the number of completed steps, 0 without a file.

        Raises:
            CheckpointError: the file is damaged, or belongs to another model or optimizer.
        """
        if not self.path.exists():
            return 0
        state = self._read()
        if self.ema:
            # The average of a run that started without one begins at its weights.
            set_model_state_dict(self.model, state["ema"] or state["model"], options=SCATTERED)
            self.ema.restart()
        set_model_state_dict(self.model, state["model"], options=SCATTERED)
        groups = self.optimizer.param_groups
        asked = [{k: v for k, v in group.items() if k != "params"} for group in groups]
        set_optimizer_state_dict(self.model, self.optimizer, state["optimizer"], options=SCATTERED)
        for group, options in zip(self.optimizer.param_groups, asked, strict=True):
            group.update(options)  # betas and weight decay of this start, not of the first
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        return state["step"]

    def _gather_average(self) -> dict[str, Tensor]:
        if self.ema is None:
            return {}
        with self.ema.in_model():
            average = full_state_dict(self.model)
            return {
                key: value.clone() for key, value in average.items()
            }  # the model's own tensors change

    def _read(self) -> dict[str, Any]:
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            got = {key: tuple(value.shape) for key, value in state["model"].items()}
        except TORCH_LOAD_ERRORS as error:
            raise CheckpointError(
                f"got {self.path}, which is damaged, expected the state of a run: delete it to "
                "start again"
            ) from error
        trained = _weights(self.model, TRAINED)
        if state["optimizer_name"] != type(self.optimizer).__name__:
            raise CheckpointError(
                f"got {self.path}, which {state['optimizer_name']} made, expected the state of "
                f"{type(self.optimizer).__name__}: set training.optimizer as it was, or choose "
                "another folder"
            )
        differing = got.items() ^ {(key, tuple(value.shape)) for key, value in trained.items()}
        if differing:
            name = min(differing)[0]
            raise CheckpointError(
                f"got {self.path}, which holds the training of another model (they differ in "
                f"{name}), expected that of this one: choose another folder"
            )
        return state


def state_path(folder: Path, name: str) -> Path:
    """Return the state file of the run `name` in `folder`."""
    return folder / f"{name}.state.pt"


def full_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return the trained weights by name, on the CPU; {} in all but the main process."""
    return _weights(model, GATHERED)


def _weights(model: nn.Module, options: StateDictOptions) -> dict[str, Tensor]:
    return cast("dict[str, Tensor]", get_model_state_dict(model, options=options))
