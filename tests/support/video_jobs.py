"""Three small videos to make with the built-in model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.command_line import PROMPT

from hummingbird_core.generation.jobs import Job, VideoConfig, config_record
from hummingbird_core.generation.model import ModelConfig
from hummingbird_core.video import read_video

PROMPTS = [PROMPT, "a blue square drifts up", "a green triangle falls"]
QUICK = {"num_frames": 2, "num_inference_steps": 2}  # a second step: with its own noise
MODEL = ModelConfig(device="cpu")


def jobs_in(folder: Path, **changes) -> list[Job]:
    """One job a prompt; PNG, because it keeps every pixel."""
    jobs = []
    for seed, prompt in enumerate(PROMPTS):
        settings = VideoConfig(prompt, seed=seed, **{**QUICK, **changes})
        record = config_record(settings, **MODEL.record())
        jobs.append(Job(settings, record, videos=(folder / f"{seed}.png",), origin=f"line {seed}"))
    return jobs


def frames_in(folder: Path) -> np.ndarray:
    """Read all videos, in the order of their names."""
    return np.stack([read_video(path).frames for path in sorted(folder.iterdir()) if path.is_dir()])
