"""Recipes: how a stage trains, as a small YAML file whose comments say why.

    training: {steps: 70000, learning_rate: 1e-5}
    objectives: {output_kd: {weight: 1.0}}

A section is a dataclass and its keys are the fields; what is left out has its default. Single
values can be given beside the file, as `training.steps=100`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...errors import InputError, one_line
from ...files import atomic_write
from ...sampling.consistency import CONSISTENCY_GRID
from ...sampling.schedule import TRAIN_TIMESTEPS
from ...seeds import MAX_SEED
from ...settings import FULL_SIZE
from ..configs import build, check_field
from ..data.clip_order import MAX_STRIDE, ClipConfig
from ..data.clip_reading import FrameConfig
from ..data.latent_cache import MAX_GIGABYTES
from ..loop.config import TrainConfig
from .losses import Consistency, FeatureKD, Objective, OutputKD
from .noise import LAST_STEP, NoiseConfig
from .recipe_files import recipe_text


@dataclass(frozen=True)
class DataConfig:
    """The clips.

    Args:
        num_frames: of a clip; of several lengths, each step takes one at random.
        height, width: pixels, multiples of 8.
        max_stride: frame strides are drawn from 1 to this.
        fps: frame rate to take clips at, in place of a random stride; default: none.
        caption_dropout: share of clips whose caption is left out.
        max_frames: of a longer video the first so many are used.
        max_gigabytes: (10^9 bytes) of latents that are kept; clips beyond are left out.
    """

    num_frames: tuple[int, ...] = (16,)
    height: int = FULL_SIZE.height
    width: int = FULL_SIZE.width
    max_stride: int = MAX_STRIDE
    fps: float | None = None
    caption_dropout: float = 0.0
    max_frames: int = FrameConfig.max_frames
    max_gigabytes: float = MAX_GIGABYTES

    def __post_init__(self) -> None:
        check_field(self, "num_frames", "at least one length", bool(self.num_frames))
        # What is made of these values refuses those that can't be.
        for length in self.num_frames:
            self.clips(length, seed=0)
        _ = self.frames
        longest = max(self.num_frames)
        check_field(self, "max_frames", f"at least {longest}, a clip", self.max_frames >= longest)
        check_field(self, "max_gigabytes", "more than 0", self.max_gigabytes > 0)

    @property
    def frames(self) -> FrameConfig:
        """How frames are prepared."""
        return FrameConfig(self.height, self.width, self.max_frames)

    def clips(self, num_frames: int, seed: int) -> ClipConfig:
        """How clips of one of the lengths are taken out of videos."""
        return ClipConfig(num_frames, self.max_stride, self.caption_dropout, seed, self.fps)


@dataclass(frozen=True)
class StudentConfig:
    """What training does to the student's layers.

    Args:
        dropout: in its ResBlocks and temporal convolutions, while it is trained.
        gradient_checkpointing: computes each block twice, to spare most of the memory.
    """

    dropout: float = 0.0
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        check_field(self, "dropout", "0 to below 1", 0 <= self.dropout < 1)


@dataclass(frozen=True)
class LoRAConfig:
    """What is trained beside the frozen weights: a LoRA (arXiv 2106.09685) on every layer.

    Args:
        rank: of its matrices.
        alpha: over `rank`, the factor on their product.
        dropout: of its input, in training.
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
    """A reward model, and how much it counts.

    Args:
        kind: of model: "shapes", "hpsv2", "pickscore" or "video", see `rewards.loading`.
        weights: its file, folder or hub id, where it has any.
        weight, every, processes: as of every objective.
        chunk: frames that the VAE decodes at once.
        max_timestep: clips with more noise are not judged.
        captions: regular expression of the captions that are judged; default: all.
    """

    kind: str
    weights: str | None = None
    weight: float = 1.0
    every: int = 1
    processes: tuple[int, ...] = ()
    chunk: int = 1
    max_timestep: int = LAST_STEP
    captions: str = ""

    def __post_init__(self) -> None:
        check_field(self, "weight", "0 or more", 0 <= self.weight < math.inf)
        for name in ("every", "chunk"):
            check_field(self, name, "at least 1", getattr(self, name) >= 1)
        is_timestep = 0 <= self.max_timestep <= LAST_STEP
        check_field(self, "max_timestep", f"0 to {LAST_STEP}", is_timestep)
        try:
            re.compile(self.captions)
        except re.error as error:
            raise InputError(
                f"got captions {self.captions!r}, expected a regular expression ({error}): mend it"
            ) from error


@dataclass(frozen=True)
class ObjectiveConfig:
    """The terms of the loss; those that are not there count nothing.

    Args:
        rewards: by any name; several can be given.
    """

    output_kd: OutputKD | None = None
    feature_kd: FeatureKD | None = None
    consistency: Consistency | None = None
    rewards: dict[str, RewardConfig] = field(default_factory=dict)

    def without_rewards(self) -> dict[str, Objective]:
        """The terms that need no other models than student and teacher, by name."""
        terms: dict[str, Objective | None] = {
            "output_kd": self.output_kd,
            "feature_kd": self.feature_kd,
            "consistency": self.consistency,
        }
        return {name: term for name, term in terms.items() if term is not None}


@dataclass(frozen=True)
class ValidationConfig:
    """Which videos to make at the start, every `training.validate_every` steps and at the end.

    Args:
        prompts: one video each.
        sampler: "consistency" for stage 2; "ddim" for stage 1, whose student still needs many
            steps.
        num_inference_steps: of the sampler.
        guidance_scale: that the student is told, if it is told any.
        fps: of the videos.
        seed: of the noise.
        judge: reward model that scores them beside those of the objectives, or "shape_reader";
            training does not follow it, and warns when it falls while the reward rises.
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
    """A whole stage. `lora` absent means that all weights are trained."""

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
    """Reads a recipe.

    Args:
        name_or_path: one of `recipe_files.recipe_names()`, or a YAML file.
        changes: values beside the file, as "training.steps=100".

    Raises:
        InputError: there is no such recipe; or a key is unknown, or missing, or has a value of the
            wrong kind.
    """
    text, origin = recipe_text(name_or_path)
    values = _parse(text, origin)
    for change in changes:
        _apply(values, change)
    return build(Recipe, values, origin)


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Writes all values of a recipe, the defaults too, such that `read_recipe` takes them."""
    import yaml

    with atomic_write(path) as temporary:
        temporary.write_bytes(yaml.safe_dump(_plain(asdict(recipe)), sort_keys=False).encode())


def changed_keys(old: Recipe, new: Recipe) -> list[str]:
    """Where two recipes differ, as "training.steps"."""
    before, after = _flat(asdict(old)), _flat(asdict(new))
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


def _parse(text: str, origin: str) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = one_line(error, max_length=400)
        raise InputError(f"got {origin}, which is no YAML ({reason}): correct it") from error
    if not isinstance(values, dict):
        raise InputError(f"got {origin} without sections, expected `training:` and `objectives:`")
    return values


def _apply(values: dict[str, Any], change: str) -> None:
    """Sets one value, "training.steps=100"."""
    import yaml

    keys, equals, text = change.partition("=")
    *sections, last = keys.strip().split(".")
    if not equals or not last:
        raise InputError(f"got {change!r}, expected KEY=VALUE such as training.steps=100")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"got {change!r}, whose value is no YAML: put it in quotes") from error


def _plain(value: Any) -> Any:
    """As YAML can write it: tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
