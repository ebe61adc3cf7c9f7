"""Generation jobs for the videos that VBench scores."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ...errors import InputError, OutputError
from ...generation.jobs import Job, VideoConfig, config_record
from ...generation.model import ModelConfig
from ...terminal import get_logger
from .prompts import MAX_SAMPLES, all_prompts, prompts_of, video_name

logger = get_logger(__name__)


def export_jobs(
    folder: Path,
    settings: VideoConfig,
    model: ModelConfig,
    dimensions: Iterable[str],
    samples: int,
) -> list[Job]:
    """Return one job per video, `samples` for each prompt.

    VBench requires a different random seed for each video. Video i of prompt number p of the whole
    list has the seed `settings.seed + 100 p + i`, independent of the exported subset.

    Raises:
        InputError: a dimension does not exist, or `samples` is out of range.
        OutputError: the folder cannot be written.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise InputError(f"got {samples} samples, expected 1 to {MAX_SAMPLES}")
    numbers = {prompt: number for number, prompt in reversed(list(enumerate(all_prompts())))}
    jobs, made_by = [], model.record()
    for prompt in _distinct_files(prompts_of(dimensions), folder):
        for index in range(samples):
            seed = settings.seed + MAX_SAMPLES * numbers[prompt] + index
            one = replace(settings, prompt=prompt, seed=seed)
            path = folder / video_name(prompt, index)
            jobs.append(Job(one, config_record(one, **made_by), videos=(path,)))
    return jobs


def _distinct_files(prompts: list[str], folder: Path) -> list[str]:
    """Drop prompts that differ only in case, on case-insensitive file systems."""
    if not _ignores_case(folder):
        return prompts
    kept = list({prompt.lower(): prompt for prompt in reversed(prompts)}.values())[::-1]
    if left_out := len(prompts) - len(kept):
        logger.warning(
            "%s does not tell capitals apart: %d prompt is left out, which another file system "
            "would hold; VBench will miss its videos",
            folder,
            left_out,
        )
    return kept


def _ignores_case(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix="case-", dir=folder) as file:
            path = Path(file.name)
            return path.with_name(path.name.upper()).exists()
    except OSError as error:
        raise OutputError(
            f"cannot write to the folder {folder}: {error.strerror}; choose another output"
        ) from error
