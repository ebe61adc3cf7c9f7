"""Clips and validation metrics for `hummingbird train rank-blocks`."""

from __future__ import annotations

from itertools import islice

import torch

from ...files import import_callable
from ...nano.evaluate import JOINT, evaluate_nano
from ...nano.world.paths import Clip
from ...nano.world.stream import samples
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
    stream = samples(RANKING_CLIP_SEED, Clip(num_frames), held_out="wording")
    scenes = list(islice(stream, count))
    frames = torch.stack([scene.render() for scene, *_ in scenes]) * 2 - 1
    return ClipBatch(
        latents=pipe.encode_video(frames),
        captions=[caption for *_, caption in scenes],
        fps=torch.tensor([scene.clip.fps for scene, *_ in scenes]),
    )


def nano_accuracy(prompts: int, num_frames: int, steps: int, guidance: float) -> Metric:
    """Return a metric: the mean share of statements that a nano model's videos show.

    Args:
        prompts: number of held-out prompts.
        num_frames: length of the videos.
        steps: sampling steps; teachers use DDIM.
        guidance: guidance scale.
    """

    def accuracy(pipe: HummingbirdPipeline) -> float:
        found = evaluate_nano(
            pipe,
            prompts,
            prompt_seed=RANKING_PROMPT_SEED,
            num_frames=num_frames,
            num_inference_steps=steps,
            guidance_scale=guidance,
        ).accuracies
        shares = [accuracy.value for kind, accuracy in found.items() if kind != JOINT]
        return sum(shares) / len(shares)

    return accuracy


def load_metric(name: str) -> Metric:
    """Import a user's metric, a function of a `HummingbirdPipeline` that returns a number.

    Args:
        name: `module:function`.

    Raises:
        InputError: the function cannot be imported.
    """
    return import_callable(name, "metric")
