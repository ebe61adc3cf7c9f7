"""The section `objectives` of a recipe: built-in objectives, those from outside, and rewards."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from ...errors import InputError
from ...files import import_callable
from ..configs import check_field, check_mapping, from_mapping, unknown_key
from .losses import OBJECTIVES
from .noise import LAST_TIMESTEP
from .step import Objective


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """A reward model with its weight in the loss.

    Args:
        kind: "shapes", "hpsv2", "pickscore", "video", or `MODULE:NAME`, see `rewards.loading`.
        weights: its file, folder or hub id, if it has weights.
        weight, every, processes: see `Objective`.
        decoder: a smaller decoder in place of the VAE's, see `vae.tiny.load_fast_decoder`: most of
            a reward's time and memory is decoding, forward and backward.
        chunk: frames decoded at once.
        max_timestep: clips with more noise are not scored.
        captions: regular expression of the captions to score; default: all.
        options: keyword arguments for a reward from outside.
    """

    kind: str
    weights: str | None = None
    weight: float = 1.0
    every: int = 1
    processes: tuple[int, ...] = ()
    decoder: str | None = None
    chunk: int = 1
    max_timestep: int = LAST_TIMESTEP
    captions: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_field(self, "weight", "0 or more", 0 <= self.weight < math.inf)
        for name in ("every", "chunk"):
            check_field(self, name, "at least 1", getattr(self, name) >= 1)
        is_timestep = 0 <= self.max_timestep <= LAST_TIMESTEP
        check_field(self, "max_timestep", f"0 to {LAST_TIMESTEP}", is_timestep)
        try:
            re.compile(self.captions)
        except re.error as error:
            raise InputError(
                f"got captions {self.captions!r}, expected a regular expression ({error}): mend it"
            ) from error


@dataclass(frozen=True)
class ObjectiveConfig:
    """The terms of the loss.

    In YAML, `output_kd: {weight: 2}` names a built-in objective by its key, and
    `mine: {kind: "MODULE:NAME", weight: 2}` one from outside: a dataclass derived from `Objective`.

    Args:
        terms: objectives by name.
        rewards: reward models by any name.
    """

    terms: dict[str, Objective] = field(default_factory=dict)
    rewards: dict[str, RewardConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.terms.keys() & self.rewards.keys():
            raise InputError(f"got {name} as an objective and a reward, expected two names")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> ObjectiveConfig:
        """Build objectives and rewards from a recipe's section; null leaves one out."""
        given = values.get("rewards") or {}
        check_mapping(given, f"{where}: rewards")
        return cls(
            terms={
                name: _build_objective(name, value, where)
                for name, value in values.items()
                if name != "rewards" and value is not None
            },
            rewards={
                str(name): from_mapping(RewardConfig, value or {}, f"{where}: rewards: {name}")
                for name, value in given.items()
            },
        )

    def to_mapping(self) -> dict[str, Any]:
        """Return the section such that `from_mapping` reads it."""
        rewards = {name: asdict(reward) for name, reward in self.rewards.items()}
        return {**{k: _objective_values(k, v) for k, v in self.terms.items()}, "rewards": rewards}


def _build_objective(name: str, values: Any, where: str) -> Objective:
    check_mapping(values, f"{where}: {name}")
    fields = {key: value for key, value in values.items() if key != "kind"}
    if "kind" in values:
        return from_mapping(import_objective(str(values["kind"])), fields, f"{where}: {name}")
    if name not in OBJECTIVES:
        known = [*OBJECTIVES, "rewards"]
        raise InputError(f"{unknown_key(name, known, where)}, or add kind: MODULE:NAME")
    return from_mapping(OBJECTIVES[name], fields, f"{where}: {name}")


def import_objective(kind: str) -> type[Objective]:
    """Import an objective from outside the package.

    Args:
        kind: `MODULE:NAME` of a dataclass derived from `Objective`.

    Raises:
        InputError: it cannot be imported, or is no objective.
    """
    found = import_callable(kind, "objective")
    if not (isinstance(found, type) and issubclass(found, Objective) and is_dataclass(found)):
        raise InputError(
            f"got objective {kind!r}, expected a dataclass derived from {Objective.__module__}."
            "Objective: see docs/guides/training.md"
        )
    return found


def _objective_values(name: str, term: Objective) -> dict[str, Any]:
    kind = type(term)
    is_built_in = OBJECTIVES.get(name) is kind
    outside = {} if is_built_in else {"kind": f"{kind.__module__}:{kind.__qualname__}"}
    return {**outside, **asdict(term)}
