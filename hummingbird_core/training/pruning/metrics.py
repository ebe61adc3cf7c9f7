"""What `hummingbird train rank-blocks` measures on: clips, and a validation metric."""

from __future__ import annotations

from itertools import islice

import torch

from ...evaluation.shape_reader import read_video
from ...pipeline import HummingbirdPipeline
from ...plugins import named_function
from ..data.batch import ClipBatch
from ..nano.shapes import random_shape
from ..nano.world import samples
from .analysis import Metric

ASPECTS = ("colour", "shape", "direction")
CLIP_SEED, PROMPT_SEED = 11, 12  # of scenes that neither training nor the final evaluation sees


@torch.no_grad()
def drawn_clips(pipe: HummingbirdPipeline, count: int, num_frames: int) -> ClipBatch:
    """Drawn clips of the built-in model's world, encoded with the VAE of `pipe`."""
    scenes = list(islice(samples(CLIP_SEED, held_out=True, num_frames=num_frames), count))
    frames = torch.stack([scene.render() for scene, _ in scenes]) * 2 - 1
    return ClipBatch(
        latents=pipe.encode_video(frames),
        captions=[caption for _, caption in scenes],
        fps=torch.tensor([scene.motion.fps for scene, _ in scenes]),
    )


def shape_accuracy(prompts: int, num_frames: int, steps: int, guidance: float) -> Metric:
    """The share of colours, shapes and directions that a model gets right, as a metric.

    Args:
        prompts: held-out prompts, each asking for three things.
        num_frames: of the videos.
        steps: sampling steps, with DDIM for a teacher.
        guidance: the guidance scale.
    """
    wanted = list(islice(samples(PROMPT_SEED, random_shape, held_out=True), prompts))

    def accuracy(pipe: HummingbirdPipeline) -> float:
        texts = [text for _, text in wanted]
        video = pipe(
            texts, num_frames=num_frames, num_inference_steps=steps, guidance_scale=guidance
        )
        seen = [read_video(frames) for frames in video.frames]
        right = [
            getattr(reading, aspect) == scene.attributes[aspect]
            for (scene, _), reading in zip(wanted, seen, strict=True)
            for aspect in ASPECTS
        ]
        return sum(right) / len(right)

    return accuracy


def load_metric(name: str) -> Metric:
    """A function of the user's that takes a `HummingbirdPipeline` and returns a number.

    Args:
        name: `module:function`.

    Raises:
        InputError: there is no such function.
    """
    return named_function(name, "metric")
