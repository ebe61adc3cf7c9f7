"""Recipes: the settings of a stage, as a small YAML file whose comments say why.

    training: {steps: 70000, learning_rate: 1e-5}
    objectives: {output_kd: {weight: 1.0}}

A section is a dataclass and its keys are the fields; missing keys have their defaults. Single
values can be given on top of the file, as `training.steps=100`. `recipe_files` reads the YAML.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal

from ...errors import InputError
from ...files import atomic_write, import_callable
from ...sampling.consistency import CONSISTENCY_GRID
from ...sampling.schedule import TRAIN_TIMESTEPS
from ...seeds import MAX_SEED
from ...settings import FULL_SIZE
from ..configs import check_field, check_mapping, from_mapping, unknown_key
from ..data.clip_order import MAX_STRIDE, ClipConfig
from ..data.clip_reading import FrameConfig
from ..data.latent_cache import MAX_GIGABYTES
from ..loop.config import TrainConfig
from .losses import OBJECTIVES
from .noise import LAST_TIMESTEP, NoiseConfig
from .recipe_files import recipe_mapping, recipe_text, record_mapping
from .step import Objective


@dataclass(frozen=True)
class DataConfig:
    """Settings of the clips.

    Args:
        num_frames: frames of a clip; of several lengths, each step takes one at random.
        height, width: pixels, multiples of 8.
        max_stride: frame strides are drawn from 1 to this.
        fps: frame rate to take clips at, in place of a random stride; default: none.
        caption_dropout: share of clips whose caption is left out.
        max_frames: longer videos are cut to this number of frames.
        max_gigabytes: limit of the latents on disk, in 10^9 bytes; clips beyond are left out.
        source: clip source for runs without `--data`: files, "nano", or `MODULE:NAME` of a
            `training.data.registry.ClipSourceFactory`.
    """

    num_frames: tuple[int, ...] = (16,)
    height: int = FULL_SIZE.height
    width: int = FULL_SIZE.width
    max_stride: int = MAX_STRIDE
    fps: float | None = None
    caption_dropout: float = 0.0
    max_frames: int = FrameConfig.max_frames
    max_gigabytes: float = MAX_GIGABYTES
    source: str | None = None

    def __post_init__(self) -> None:
        check_field(self, "num_frames", "at least one length", bool(self.num_frames))
        # The configs made of these values reject invalid ones.
        for length in self.num_frames:
            self.clips(length, seed=0)
        _ = self.frames
        longest = max(self.num_frames)
        check_field(self, "max_frames", f"at least {longest}, a clip", self.max_frames >= longest)
        check_field(self, "max_gigabytes", "more than 0", self.max_gigabytes > 0)

    @property
    def frames(self) -> FrameConfig:
        """Settings of the frames."""
        return FrameConfig(self.height, self.width, self.max_frames)

    def clips(self, num_frames: int, seed: int) -> ClipConfig:
        """Return the settings for clips of one of the lengths."""
        return ClipConfig(num_frames, self.max_stride, self.caption_dropout, seed, self.fps)


@dataclass(frozen=True)
class StudentConfig:
    """Settings of the student's layers in training.

    Args:
        dropout: probability in its ResBlocks and temporal convolutions.
        gradient_checkpointing: compute each block twice, to save most of the memory.
    """

    dropout: float = 0.0
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        check_field(self, "dropout", "0 to below 1", 0 <= self.dropout < 1)


@dataclass(frozen=True)
class LoRAConfig:
    """A LoRA (arXiv 2106.09685) on every layer, trained in place of the frozen weights.

    Args:
        rank: of its matrices.
        alpha: `alpha / rank` is the factor on their product.
        dropout: probability on its input, in training.
    """

    rank: int = 64
    alpha: float = 64.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_field(self, "rank", "at least 1", self.rank >= 1)
        check_field(self, "alpha", "more than 0", 0 < self.alpha < math.inf)
        check_field(self, "dropout", "0 to below 1", 0 <= self.dropout < 1)


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """A reward model with its weight in the loss.

    Args:
        kind: "shapes", "hpsv2", "pickscore", "video", or `MODULE:NAME`, see `rewards.loading`.
        weights: its file, folder or hub id, if it has weights.
        weight, every, processes: see `Objective`.
        chunk: frames the VAE decodes at once.
        max_timestep: clips with more noise are not scored.
        captions: regular expression of the captions to score; default: all.
    """

    kind: str
    weights: str | None = None
    weight: float = 1.0
    every: int = 1
    processes: tuple[int, ...] = ()
    chunk: int = 1
    max_timestep: int = LAST_TIMESTEP
    captions: str = ""

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


@dataclass(frozen=True)
class ValidationConfig:
    """Videos made at the start, every `training.validate_every` steps and at the end.

    Args:
        prompts: one video each.
        sampler: "consistency" for stage 2; "ddim" for stage 1, whose student still needs many
            steps.
        num_inference_steps: of the sampler.
        guidance_scale: the student's guidance input, if it has one.
        fps: of the videos.
        seed: of the noise.
        judge: held-out metric: "shape_reader", or a reward model that is not in the loss; training
            warns when it falls while the rewards rise.
        judge_weights: its file or folder.
    """

    prompts: tuple[str, ...] = ()
    sampler: Literal["consistency", "ddim"] = "consistency"
    num_inference_steps: int = 4
    guidance_scale: float = 7.5
    fps: int = 8
    seed: int = 0
    judge: str | None = None
    judge_weights: str | None = None

    def __post_init__(self) -> None:
        is_text = all(prompt.strip() for prompt in self.prompts)
        check_field(self, "prompts", "text in each", is_text)
        check_field(self, "fps", "more than 0", self.fps > 0)
        is_scale = 0 <= self.guidance_scale < math.inf
        check_field(self, "guidance_scale", "0 or more", is_scale)
        check_field(self, "seed", "0 to 2**64 - 1", 0 <= self.seed <= MAX_SEED)
        most = CONSISTENCY_GRID if self.sampler == "consistency" else TRAIN_TIMESTEPS // 2
        is_possible = 1 <= self.num_inference_steps <= most
        check_field(self, "num_inference_steps", f"1 to {most}", is_possible)


@dataclass(frozen=True)
class Recipe:
    """A whole stage; without `lora`, all weights are trained."""

    training: TrainConfig
    objectives: ObjectiveConfig
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    data: DataConfig = field(default_factory=DataConfig)
    lora: LoRAConfig | None = None
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        held_out = (self.validation.judge, self.validation.judge_weights)
        for name, reward in self.objectives.rewards.items():
            if (reward.kind, reward.weights) == held_out:
                raise InputError(
                    f"got {reward.kind} as the reward {name} and as validation.judge, expected a "
                    "judge that training does not follow: name another, or set it to null"
                )


def read_recipe(name_or_path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name_or_path: one of `recipe_files.recipe_names()`, or a YAML file.
        changes: values on top of the file, as "training.steps=100".

    Raises:
        InputError: there is no such recipe; or a key is unknown, missing or renamed, or has a value
            of the wrong kind.
    """
    text, origin = recipe_text(name_or_path)
    return from_mapping(Recipe, recipe_mapping(text, origin, changes), origin)


def read_recorded_recipe(path: Path) -> Recipe:
    """Read the recipe that a run has kept in its folder, also one with keys of older versions."""
    text, origin = recipe_text(path)
    return from_mapping(Recipe, record_mapping(text, origin), origin)


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write all values of a recipe, defaults included, such that `read_recipe` reads them."""
    import yaml

    text = yaml.safe_dump(_to_yaml(_values(recipe)), sort_keys=False)
    with atomic_write(path) as temporary:
        temporary.write_bytes(text.encode())


def changed_keys(old: Recipe, new: Recipe) -> list[str]:
    """Return the keys in which two recipes differ, as "training.steps"."""
    before, after = _flatten(_values(old)), _flatten(_values(new))
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


def _values(recipe: Recipe) -> dict[str, Any]:
    return {**asdict(recipe), "objectives": recipe.objectives.to_mapping()}


def _to_yaml(value: Any) -> Any:
    """Return a value as YAML can write it: tuples as lists."""
    if isinstance(value, dict):
        return {key: _to_yaml(v) for key, v in value.items()}
    return [_to_yaml(v) for v in value] if isinstance(value, tuple | list) else value


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted keys."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
