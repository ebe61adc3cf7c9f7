"""The ablation before pruning in one call: rank a teacher's blocks and propose a student."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import atomic_write, sha256_of_file
from ...hub.local import resolve_model
from ...nano.latents import has_image_latents
from ...pipeline import HummingbirdPipeline
from ...reporting import figure_class
from ...unet.model import UNetConfig
from ..data.batch import ClipBatch
from ..data.clip_index import list_clips
from ..data.clip_order import ClipConfig
from ..data.clip_reading import FrameConfig
from ..data.clip_sources import VideoClips
from ..data.nano_clips import NANO_WORLD
from .analysis import (
    TIMESTEPS,
    Metric,
    Ranking,
    all_removals,
    check_budget,
    propose,
    teacher_targets,
)
from .block_map import map_to, map_without, student_config
from .block_removal import Removal, removal_of_map
from .metrics import NANO_ACCURACY, load_metric, nano_accuracy, nano_clips
from .report import ranking_table, ranking_title, write_plot


def rank_blocks(
    teacher: HummingbirdPipeline,
    source: str | Path,
    output: Path,
    settings: RankConfig,
) -> tuple[str, list[Path]]:
    """Measure the importance of each block; continues an interrupted call.

    Args:
        teacher: a pipeline with VAE and text encoder.
        source: checkpoint or built-in name of the teacher, recorded with its hash.
        output: name of the files, without a suffix.
        settings: clips, metric and budget.

    Returns:
        The table in Markdown, and the paths of the written files: measurements (JSON), map of the
        proposed student (JSON), table and plot.

    Raises:
        InputError: no student is within the budget, or there are no clips to measure on.
        MissingPackageError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    figure_class()  # before anything is measured
    check_budget(teacher.unet, settings.budget)
    settings = _for_model(settings, teacher)
    ranking = Ranking(_named(output, ".json"), _record(source, teacher, settings))
    probes, metric = teacher_targets(teacher, _clips(settings, teacher, source)), _metric(settings)
    ranking.measure(teacher, all_removals(teacher.unet), probes, metric)
    maps = {"proposed map": propose(teacher.unet.config, ranking.rows, settings.budget)}
    maps |= _published(teacher.unet.config, maps["proposed map"])
    ranking.measure(teacher, maps.values(), probes, metric)
    lacks = {name: list(removal.blocks) for name, removal in maps.items()}
    ranking.save(budget=settings.budget, maps=lacks)
    table = ranking_table(ranking, maps)
    return table, _write(output, teacher.unet.config, ranking, maps, table)


def _for_model(settings: RankConfig, pipe: HummingbirdPipeline) -> RankConfig:
    """Return `settings` with the defaults for the kind of teacher filled in."""
    draws_clips = pipe.vae is not None and has_image_latents(pipe.vae.config)
    return replace(
        settings,
        data=settings.data or (NANO_WORLD if draws_clips else None),
        metric=settings.metric or (NANO_ACCURACY if draws_clips else "none"),
    )


def _record(source: str | Path, pipe: HummingbirdPipeline, settings: RankConfig) -> dict[str, Any]:
    """Return everything that the measurements depend on."""
    path = resolve_model(source)
    measured = asdict(settings)
    del measured["budget"]  # only chooses among the measurements
    return {
        "teacher": path.stem,
        "sha256": sha256_of_file(path) if path.is_file() else "",
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "timesteps": list(TIMESTEPS),
        **measured,
    }


def _metric(settings: RankConfig) -> Metric | None:
    if settings.metric in (None, "none"):
        return None
    if settings.metric == NANO_ACCURACY:
        return nano_accuracy(settings.prompts, settings.frames, settings.steps, settings.guidance)
    return load_metric(settings.metric)


def _clips(settings: RankConfig, pipe: HummingbirdPipeline, source: str | Path) -> ClipBatch:
    if settings.data is None:
        raise InputError("got no clips to measure on, expected captioned videos: give --data")
    if pipe.vae is None or pipe.text_encoder is None:
        raise InputError(
            f"got {source} without VAE or text encoder, expected a whole checkpoint: convert "
            "the original file, which holds all three"
        )
    if settings.data == NANO_WORLD:
        return nano_clips(pipe, settings.clips, settings.frames)
    frames = FrameConfig(pipe.trained.height, pipe.trained.width)
    clips = list_clips(settings.data)
    videos = VideoClips(clips, pipe.vae, frames, ClipConfig(settings.frames))
    return videos.batch(0, size=settings.clips)


def _published(config: UNetConfig, proposed: Removal) -> dict[str, Removal]:
    """Return the removal of the published student with as many blocks as the proposed one."""
    if config.num_res_blocks > 2:
        return {}  # no student of such a teacher is published
    student = student_config(config, map_without(config, set(proposed.blocks)))
    return {"published map": removal_of_map(config, map_to(config, student))}


def _write(
    output: Path,
    config: UNetConfig,
    ranking: Ranking,
    maps: dict[str, Removal],
    table: str,
) -> list[Path]:
    mapping = map_without(config, set(maps["proposed map"].blocks))
    texts = {
        map_file(output): json.dumps(mapping, indent=1),
        _named(output, ".md"): f"{ranking_title(ranking.settings)}\n\n{table}",
    }
    for path, text in texts.items():
        with atomic_write(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    plot = _named(output, ".png")
    write_plot(plot, ranking, f"{ranking.settings['teacher']}: what taking out blocks costs")
    return [_named(output, ".json"), *texts, plot]


def map_file(output: Path) -> Path:
    """Return the file to which `rank_blocks` writes the map of its proposed student."""
    return _named(output, "-map.json")


def _named(output: Path, suffix: str) -> Path:
    """Append a suffix; a dot in the name is kept."""
    return output.with_name(output.name + suffix)


@dataclass(frozen=True)
class RankConfig:
    """Settings of the ablation.

    Attributes:
        budget: largest share of the teacher's parameters that the proposed student may have.
        clips, frames: number of clips for the loss, and length of the clips and samples.
        data: source of the clips; None is the built-in world, for a nano teacher only.
        metric: "nano", "none", or "module:function"; None is "nano" for a nano teacher and "none"
            for others.
        prompts, steps, guidance: for the metric "nano": number of held-out prompts, sampling.
    """

    budget: float = 0.6
    clips: int = 8
    frames: int = 16
    data: str | None = None
    metric: str | None = None
    prompts: int = 12
    steps: int = 10
    guidance: float = 7.5

    def __post_init__(self) -> None:
        if not 0 < self.budget < 1 or min(self.clips, self.frames, self.prompts) < 1:
            raise InputError(
                f"got budget {self.budget:g}, {self.clips} clips, {self.frames} frames and "
                f"{self.prompts} prompts, expected a budget between 0 and 1, and at least 1 of each"
            )
