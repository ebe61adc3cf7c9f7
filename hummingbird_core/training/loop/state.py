"""The training state: the file from which a run resumes exactly.

It holds the trained weights (only the LoRA, if that is all), their average, the optimizer, the same
of other phases, and the loss scale. The learning rate and all random numbers are functions of the
step's number, so they need no state. Tensors are stored whole, not as shards: a run may resume with
another number of processes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
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

from ...errors import CheckpointError, InputError
from ...files import atomic_write, check_destination
from ...inputs.fields import Whole, check_fields
from ...weights.pickle.archive import read_pickle
from ...weights.pickle.plain import read_plain
from .ema import EMA

STEP = Whole(0, 1 << 53)

GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
TRAINED = StateDictOptions(ignore_frozen_params=True)
SCATTERED = StateDictOptions(full_state_dict=True, strict=False)  # without frozen weights


@dataclass(frozen=True)
class TrainedPart:
    """The trained weights of a model, with their optimizer.

    Attributes:
        model: its parameters that require gradients are stored.
        optimizer: of these parameters.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer

    def gather(self) -> dict[str, Any]:
        """Return weights and optimizer whole, on the CPU; {} in all but the main process."""
        return {
            "optimizer_name": type(self.optimizer).__name__,
            "model": full_state_dict(self.model),
            "optimizer": get_optimizer_state_dict(self.model, self.optimizer, options=GATHERED),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set weights and optimizer to those of `gather`."""
        set_model_state_dict(self.model, state["model"], options=SCATTERED)
        groups = self.optimizer.param_groups
        asked = [{k: v for k, v in group.items() if k != "params"} for group in groups]
        set_optimizer_state_dict(self.model, self.optimizer, state["optimizer"], options=SCATTERED)
        for group, options in zip(self.optimizer.param_groups, asked, strict=True):
            group.update(options)  # betas and weight decay of this start, not of the first

    def check(self, state: Mapping[str, Any], path: Path) -> None:
        """Raise CheckpointError unless `gather` made the state of this model and optimizer."""
        if state["optimizer_name"] != type(self.optimizer).__name__:
            raise CheckpointError(
                f"got {path}, which {state['optimizer_name']} made, expected the state of "
                f"{type(self.optimizer).__name__}: set training.optimizer as it was, or choose "
                "another folder"
            )
        trained = _weights(self.model, TRAINED)
        differing = _shapes(state["model"]) ^ _shapes(trained)
        if differing:
            name = min(differing)[0]
            raise CheckpointError(
                f"got {path}, which holds the training of another model (they differ in "
                f"{name}), expected that of this one: choose another folder"
            )


@dataclass(frozen=True)
class TrainingState:
    """Everything a run changes, with the file that stores it.

    Attributes:
        path: of the file.
        main: what the run is about.
        ema: the average of its weights, if any.
        scaler: loss scale, in fp16.
        phases: what other phases train, by their names.
    """

    path: Path
    main: TrainedPart
    ema: EMA | None
    scaler: torch.amp.GradScaler | None
    phases: Mapping[str, TrainedPart] = field(default_factory=dict)

    def save(self, step: int, *, writes: bool) -> None:
        """Store the state after `step` steps; a kill leaves the older file intact.

        All processes call this, as each may hold a shard of the weights; the process that `writes`
        gathers them.
        """
        state = {
            "step": step,
            **self.main.gather(),
            "ema": self._gather_average(),
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "phases": {name: part.gather() for name, part in self.phases.items()},
        }
        if writes:
            check_destination(self.path, overwrite=True)
            with atomic_write(self.path) as temporary, temporary.open("wb") as file:
                torch.save(state, file)

    def load(self) -> int:
        """Load the state; return the number of completed steps, 0 without a file.

        Raises:
            CheckpointError: the file is damaged, or belongs to another model or optimizer, or to a
                run of other phases.
        """
        if not self.path.exists():
            return 0
        state = self._read()
        try:
            self._restore(state)
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise _damaged(self.path) from error
        return state["step"]

    def _restore(self, state: Mapping[str, Any]) -> None:
        if self.ema:
            # The average of a run that started without one begins at its weights.
            average = state["ema"] or state["model"]
            set_model_state_dict(self.main.model, average, options=SCATTERED)
            self.ema.restart()
        self.main.restore(state)
        for name, part in self.phases.items():
            part.restore(state["phases"][name])
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    def _gather_average(self) -> dict[str, Tensor]:
        if self.ema is None:
            return {}
        with self.ema.in_model():
            average = full_state_dict(self.main.model)
            return {
                key: value.clone() for key, value in average.items()
            }  # the model's own tensors change

    def _read(self) -> dict[str, Any]:
        try:
            state = read_plain(self.path)
            _check_form(state)
        except (CheckpointError, InputError) as error:
            raise _damaged(self.path) from error
        self.main.check(state, self.path)
        self._check_phases(list(state["phases"]))
        for name, part in self.phases.items():
            part.check(state["phases"][name], self.path)
        return state

    def _check_phases(self, kept: Collection[str]) -> None:
        if set(kept) != self.phases.keys():
            got, expected = (", ".join(sorted(names)) or "none" for names in (kept, self.phases))
            raise CheckpointError(
                f"got {self.path} with the phases {got}, expected {expected}: choose another folder"
            )


def completed_steps(path: Path) -> int:
    """Return the number of completed steps in a state file; 0 without a file.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not path.exists():
        return 0
    try:
        root = read_pickle(path)  # the tensors stay on the disk
        check_fields({"step": root["step"]}, {"step": STEP}, "it")
        return root["step"]
    except (CheckpointError, InputError, LookupError, TypeError) as error:
        raise _damaged(path) from error


def _check_form(state: Any) -> None:
    """Raise InputError unless a file's content has the form of a state; add what old ones lack."""
    if not isinstance(state, dict):
        raise InputError("it is no state")
    state.setdefault("phases", {})  # files of older versions know no phases
    check_fields({"step": state.get("step")}, {"step": STEP}, "it")
    phases = state["phases"].values() if isinstance(state["phases"], dict) else [None]
    for part in (state, *phases):
        values = part if isinstance(part, dict) else {}
        weights, optimizer = values.get("model"), values.get("optimizer")
        if not isinstance(weights, dict) or not isinstance(optimizer, dict):
            raise InputError("it lacks the weights or the optimizer")
        if not all(isinstance(value, Tensor) for value in weights.values()):
            raise InputError("its weights are no tensors")
        if "optimizer_name" not in values:
            raise InputError("it does not name its optimizer")
    if not all(isinstance(state.get(name), dict) for name in ("ema", "scaler")):
        raise InputError("it lacks the average or the loss scale")


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        f"got {path}, which is damaged, expected the state of a run: delete it to start again"
    )


def state_path(folder: Path, name: str) -> Path:
    """Return the state file of the run `name` in `folder`."""
    return folder / f"{name}.state.pt"


def full_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return the trained weights by name, on the CPU; {} in all but the main process."""
    return _weights(model, GATHERED)


def _shapes(weights: Mapping[str, Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, tuple(value.shape)) for name, value in weights.items()}


def _weights(model: nn.Module, options: StateDictOptions) -> dict[str, Tensor]:
    return cast("dict[str, Tensor]", get_model_state_dict(model, options=options))
