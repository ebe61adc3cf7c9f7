"""Recipes: the settings of a stage, as a small YAML file whose comments say why.

    training: {steps: 70000, learning_rate: 1e-5}
    objectives: {output_kd: {weight: 1.0}}

A section is a dataclass and its keys are the fields; missing keys have their defaults. Single
values can be given on top of the file, as `training.steps=100`. `recipe_files` reads the YAML.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...errors import InputError
from ...files import atomic_write
from ...sampling.consistency import CONSISTENCY_GRID
from ...sampling.schedule import TRAIN_TIMESTEPS
from ...seeds import MAX_SEED
from ...settings import FULL_SIZE
from ..configs import check_field, from_mapping
from ..data.clip_order import MAX_STRIDE, ClipConfig
from ..data.clip_reading import FrameConfig
from ..data.latent_cache import MAX_GIGABYTES
from ..loop.config import TrainConfig
from .noise import NoiseConfig
from .paths import PathConfig
from .recipe_files import recipe_mapping, recipe_text, record_mapping
from .recipe_objectives import ObjectiveConfig


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
        options: keyword arguments for a source from outside.
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
    options: dict[str, Any] = field(default_factory=dict)

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
        gradient_checkpointing: compute each block twice, to save most of the memory; also those of
            a fake score, and of the teacher below a discriminator.
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
        seeds: seeds of each prompt that are compared with those of the teacher; below 2 for none.
        judge: held-out metric: "shape_reader", or a reward model that is not in the loss. The
            weights of its best validation are kept, see `training.keep_best`; with rewards,
            training warns when it falls while they rise.
        judge_weights: its file or folder.
        judge_options: keyword arguments for a judge from outside.
    """

    prompts: tuple[str, ...] = ()
    sampler: Literal["consistency", "ddim"] = "consistency"
    num_inference_steps: int = 4
    guidance_scale: float = 7.5
    fps: int = 8
    seed: int = 0
    seeds: int = 3
    judge: str | None = None
    judge_weights: str | None = None
    judge_options: dict[str, Any] = field(default_factory=dict)

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
    """A whole stage; without `lora`, all weights are trained.

    `paths` belong to `noise.samples: teacher_path`.
    """

    training: TrainConfig
    objectives: ObjectiveConfig
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    data: DataConfig = field(default_factory=DataConfig)
    lora: LoRAConfig | None = None
    paths: PathConfig | None = None
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        if (self.noise.samples == "teacher_path") != (self.paths is not None):
            raise InputError(
                f"got noise.samples {self.noise.samples} {'with' if self.paths else 'without'} "
                "paths, expected teacher_path with a section `paths`, or neither"
            )
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

    text = yaml.safe_dump(_to_yaml(recipe_values(recipe)), sort_keys=False)
    with atomic_write(path) as temporary:
        temporary.write_bytes(text.encode())


def changed_keys(old: Recipe, new: Recipe) -> list[str]:
    """Return the keys in which two recipes differ, as "training.steps"."""
    before, after = _flatten(recipe_values(old)), _flatten(recipe_values(new))
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """Return all values of a recipe as nested mappings."""
    return {**asdict(recipe), "objectives": recipe.objectives.to_mapping()}


def outside_names(recipe: Recipe) -> list[str]:
    """Return `MODULE:NAME` of all objectives, rewards and judges from outside the package."""
    objectives = recipe.objectives.to_mapping()
    rewards = [reward.kind for reward in recipe.objectives.rewards.values()]
    kinds = [objectives[name].get("kind", "") for name in recipe.objectives.terms]
    return [name for name in (*kinds, *rewards, recipe.validation.judge or "") if ":" in name]


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
