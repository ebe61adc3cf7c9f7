"""Paths of the teacher: noise, caption, and where its sampler leads from there, kept on disk.

At t = 999 a student that learns from noised clips gets E[x_0 | text]: the noise of a clip does not
determine the clip, so the loss seeks the mean, and every seed draws the same video. The end of the
teacher's own path from that very noise is determined by it. Pairs of both are what one-step models
are distilled from (AMD Nitro-1; progressive distillation, arXiv 2202.00512).

    FOLDER/<key>/<number>.safetensors   states [N, S, 4, T, h, w] fp16, ends [N, 4, T, h, w] fp16,
                                        fps and w [N]; captions in the metadata

Each file is a function of its number and of the settings in the key. A run that was stopped goes on
with the missing files; several runs share one folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from ...errors import CheckpointError, InputError
from ...files import atomic_write
from ...inputs.json_text import parse_json
from ...sampling.consistency import consistency_timesteps
from ...sampling.schedule import TRAIN_TIMESTEPS
from ...terminal import get_logger
from ..configs import check_field
from ..data.batch import ClipSource
from ..loop.distributed import distributed_state
from ..loop.micro_batch import MicroBatch
from .noise import LAST_TIMESTEP, NoiseConfig
from .predictions import Conditions, Models, encode_conditions
from .step import Objective, Step, weighted_terms

logger = get_logger(__name__)

FILE_PATHS = 16  # paths in one file
# Steps of the teacher: dense where the video is decided, and at all timesteps of 1 to 4 steps.
TEACHER_TIMESTEPS = (
    *(999, 989, 969, 939, 899, 859, 819, 759, 699, 639, 579, 519, 499, 459, 399, 339, 279),
    *(219, 159, 99, 39),
)


@dataclass(frozen=True)
class PathConfig:
    """Settings of the teacher's paths, for `noise.samples: teacher_path`.

    Args:
        count: number of paths, a multiple of 16.
        timesteps: the teacher's DDIM steps, falling from 999.
        terminal_steps: steps more at t = 999, from pure noise to the schedule's signal, for a
            teacher that was trained on the signals between; 0 for others.
        student_steps: numbers of sampling steps that the student is trained for; their timesteps
            have to be among `timesteps`.
        first_share: share of the clips at t = 999; the others are spread over the other timesteps.
        max_gigabytes: limit of the files, in 10^9 bytes.
    """

    count: int = 4096
    timesteps: tuple[int, ...] = TEACHER_TIMESTEPS
    terminal_steps: int = 0
    student_steps: tuple[int, ...] = (4,)
    first_share: float = 0.4
    max_gigabytes: float = 100.0

    def __post_init__(self) -> None:
        is_whole = self.count > 0 and self.count % FILE_PATHS == 0
        check_field(self, "count", f"a multiple of {FILE_PATHS}", is_whole)
        falls = all(a > b for a, b in zip(self.timesteps, self.timesteps[1:], strict=False))
        starts = bool(self.timesteps) and self.timesteps[0] == LAST_TIMESTEP
        check_field(self, "timesteps", "numbers that fall from 999 to 0 or more", falls and starts)
        check_field(self, "terminal_steps", "0 or more", self.terminal_steps >= 0)
        check_field(self, "first_share", "0 to 1", 0 <= self.first_share <= 1)
        missing = sorted(set(self.kept_timesteps) - set(self.timesteps))
        check_field(self, "timesteps", f"also {missing}, of student_steps", not missing)

    @property
    def kept_timesteps(self) -> tuple[int, ...]:
        """Timesteps of the student's sampling, falling; their states are stored."""
        steps = {t for n in self.student_steps for t in consistency_timesteps(n).tolist()}
        return tuple(sorted(steps, reverse=True))


@dataclass(frozen=True)
class PathBatch:
    """States on paths, with the end of each.

    Attributes:
        sample: x_t `[B, 4, T, h, w]`.
        end: x_0 of the same paths.
        t: timesteps `[B]`.
        captions: B of them.
        fps, w: frame rates and guidance scales, `[B]`.
        loop: whether the first frame of the clips follows their last one.
    """

    sample: Tensor
    end: Tensor
    t: Tensor
    captions: list[str]
    fps: Tensor
    w: Tensor
    loop: bool

    def to(self, device: torch.device) -> PathBatch:
        """Return the batch on another device."""
        moved = {
            name: getattr(self, name).to(device) for name in ("sample", "end", "t", "fps", "w")
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class TeacherPaths:
    """The files of a folder, as a random-access stream of batches."""

    folder: Path
    settings: PathConfig
    seed: int

    def batch(self, micro_batch: MicroBatch) -> PathBatch:
        """Return the paths of a micro-batch: a function of its numbers alone.

        Raises:
            CheckpointError: a file is damaged.
        """
        key = f"paths {self.seed} {micro_batch.step} {micro_batch.index}"
        rng = random.Random(key)
        files = self.settings.count // FILE_PATHS
        path = path_file(self.folder, rng.randrange(files))
        chosen = [rng.randrange(FILE_PATHS) for _ in range(micro_batch.size)]
        kept = self.settings.kept_timesteps
        numbers = [self._draw_state(rng, len(kept)) for _ in chosen]
        return _read(path, chosen, numbers, kept)

    def _draw_state(self, rng: random.Random, count: int) -> int:
        if count == 1 or rng.random() < self.settings.first_share:
            return 0
        return rng.randrange(1, count)


@dataclass(frozen=True)
class PathLoss:
    """The weighted terms of the loss on states of the teacher's paths, by name."""

    paths: TeacherPaths
    models: Models
    objectives: Mapping[str, Objective]
    noise: NoiseConfig

    def __call__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """Return the terms due in this step."""
        return weighted_terms(self.objectives, self.draw(micro_batch))

    def draw(self, micro_batch: MicroBatch) -> Step:
        """Read states with their conditions."""
        batch = self.paths.batch(micro_batch).to(distributed_state().device)
        context = self.models.embed(batch.captions, batch.sample.shape[2])  # [B, 77, C]
        null_context = self.models.null_context.expand_as(context)
        conditions = Conditions(context, null_context, batch.fps, batch.w, batch.loop)
        return Step(
            micro_batch,
            self.models,
            self.noise,
            batch.sample,
            batch.t,
            conditions,
            batch.captions,
            batch.end,
        )


def _read(
    path: Path, chosen: Sequence[int], numbers: Sequence[int], timesteps: Sequence[int]
) -> PathBatch:
    try:
        with safe_open(path, framework="pt") as file:
            states, ends = file.get_slice("states"), file.get_slice("ends")
            sample = torch.stack([states[n, k] for n, k in zip(chosen, numbers, strict=True)])
            end = torch.stack([ends[n] for n in chosen])
            fps, w = (file.get_tensor(name)[list(chosen)] for name in ("fps", "w"))
            metadata = file.metadata() or {}
        captions = parse_json(metadata["captions"], "captions")
        said = [str(captions[n]) for n in chosen]
        loop = metadata["loop"] == "True"
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"cannot read the teacher's paths in {path} ({error}): delete the file and start again"
        ) from error
    t = torch.tensor([timesteps[k] for k in numbers])
    return PathBatch(sample.float(), end.float(), t, said, fps, w, loop)


def path_file(folder: Path, number: int) -> Path:
    """Return the file of `FILE_PATHS` paths."""
    return folder / f"{number:06d}.safetensors"


def make_paths(
    models: Models,
    clips: ClipSource,
    noise: NoiseConfig,
    settings: PathConfig,
    folder: Path,
    *,
    seed: int,
    teacher_hash: str,
) -> TeacherPaths:
    """Make the paths that are missing, with a progress bar; call again after any stop.

    All processes of a run have to call it: each makes a share of the files.

    Args:
        models: the teacher and the text encoder.
        clips: gives captions, frame rates and shapes; their latents are not used.
        noise: guidance of the teacher.
        settings: number, steps and kept states of the paths.
        folder: of the files, in a folder named by a hash of everything that they depend on.
        seed: of noise, guidance scales and order.
        teacher_hash: of the teacher's file.

    Raises:
        InputError: the files would be larger than `settings.max_gigabytes`.
    """
    folder = folder / _key(noise, settings, seed, teacher_hash)
    folder.mkdir(parents=True, exist_ok=True)
    state = distributed_state()
    numbers = range(state.process_index, settings.count // FILE_PATHS, state.num_processes)
    missing = [number for number in numbers if not path_file(folder, number).exists()]
    if missing:
        _check_size(clips, settings)
    for number in tqdm(missing, desc="teacher's paths", unit="file", disable=not missing):
        _write(path_file(folder, number), number, models, clips, noise, settings, seed)
    state.wait_for_everyone()
    return TeacherPaths(folder, settings, seed)


def _key(noise: NoiseConfig, settings: PathConfig, seed: int, teacher_hash: str) -> str:
    """Return a hash of everything that the files' contents depend on; their number is not part."""
    guided = [noise.guidance, noise.cfg_start_timestep, noise.clip_denoised, noise.dynamic_rescale]
    if noise.cfg_stop_timestep < TRAIN_TIMESTEPS:
        guided.append(noise.cfg_stop_timestep)  # not in folders made before there was one
    values = {**asdict(settings), "count": 0, "first_share": 0, "max_gigabytes": 0}
    if not settings.terminal_steps:
        del values["terminal_steps"]  # as in folders made before there were any
    text = json.dumps([values, guided, seed, teacher_hash], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_size(clips: ClipSource, settings: PathConfig) -> None:
    """Log the size of the files, and raise InputError if it is beyond the limit."""
    latents = clips.batch(0, size=1).latents[0].numel()
    gigabytes = 2e-9 * settings.count * (len(settings.kept_timesteps) + 1) * latents
    logger.info("%d paths of the teacher take about %.2g GB", settings.count, gigabytes)
    if gigabytes > settings.max_gigabytes:
        raise InputError(
            f"got {settings.count} paths of {gigabytes:.1f} GB, expected at most "
            f"paths.max_gigabytes {settings.max_gigabytes:g}: raise it, or lower paths.count"
        )


def _write(
    path: Path,
    number: int,
    models: Models,
    clips: ClipSource,
    noise: NoiseConfig,
    settings: PathConfig,
    seed: int,
) -> None:
    batch = clips.batch(number, size=FILE_PATHS).to(distributed_state().device)
    micro_batch = MicroBatch(seed, number, size=FILE_PATHS)
    start, (u,) = micro_batch.draw(batch.latents.shape[1:], 1, batch.latents.device)
    low, high = noise.guidance
    conditions = encode_conditions(models, batch, w=low + (high - low) * u)
    t = torch.full((FILE_PATHS,), LAST_TIMESTEP, device=start.device)
    step = Step(micro_batch, models, noise, start, t, conditions, batch.captions)
    states = step.teacher_states(settings.timesteps, settings.terminal_steps)
    kept = [states[settings.timesteps.index(t)] for t in settings.kept_timesteps]
    tensors = {
        "states": torch.stack(kept, dim=1).half().cpu().contiguous(),  # [N, S, 4, T, h, w]
        "ends": states[-1].half().cpu().contiguous(),
        "fps": batch.fps.float().cpu(),
        "w": conditions.w.float().cpu(),
    }
    if not all(math.isfinite(float(value.float().sum())) for value in tensors.values()):
        raise CheckpointError(f"got NaN or infinity from the teacher for {path.name}")
    metadata = {"captions": json.dumps(batch.captions), "loop": str(batch.loop)}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))
