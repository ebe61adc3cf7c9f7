"""Clips and validation metrics for `hummingbird train rank-blocks`."""

from __future__ import annotations

from itertools import islice

import torch

from ...files import import_callable
from ...nano.evaluate import SUBJECTS, evaluate_nano
from ...nano.world.world import samples
from ...pipeline import HummingbirdPipeline
from ..data.batch import ClipBatch
from .analysis import Metric

NANO_ACCURACY = "nano"  # name of the metric in settings
RANKING_CLIP_SEED, RANKING_PROMPT_SEED = (
    11,
    12,
)  # of scenes that neither training nor the final evaluation sees


@torch.no_grad()
def nano_clips(pipe: HummingbirdPipeline, count: int, num_frames: int) -> ClipBatch:
    """Draw clips of the built-in model's world and encode them with the VAE of `pipe`."""
    scenes = list(islice(samples(RANKING_CLIP_SEED, held_out=True, num_frames=num_frames), count))
    frames = torch.stack([scene.render() for scene, _ in scenes]) * 2 - 1
    return ClipBatch(
        latents=pipe.encode_video(frames),
        captions=[caption for _, caption in scenes],
        fps=torch.tensor([scene.motion.fps for scene, _ in scenes]),
    )


def nano_accuracy(prompts: int, num_frames: int, steps: int, guidance: float) -> Metric:
    """Return a metric: the share of caption attributes that a nano model's videos show.

    Args:
        prompts: number of held-out prompts for each subject.
        num_frames: length of the videos.
        steps: sampling steps; teachers use DDIM.
        guidance: guidance scale.
    """

    def accuracy(pipe: HummingbirdPipeline) -> float:
        found = {
            name: evaluate_nano(
                pipe,
                name,
                prompts,
                prompt_seed=RANKING_PROMPT_SEED,
                num_frames=num_frames,
                num_inference_steps=steps,
                guidance_scale=guidance,
            )
            for name in SUBJECTS
        }
        right = [found[name][a].value for name, half in SUBJECTS.items() for a in half.aspects]
        return sum(right) / len(right)

    return accuracy


def load_metric(name: str) -> Metric:
    """Import a user's metric, a function of a `HummingbirdPipeline` that returns a number.

    Args:
        name: `module:function`.

    Raises:
        InputError: the function cannot be imported.
    """
    return import_callable(name, "metric")
