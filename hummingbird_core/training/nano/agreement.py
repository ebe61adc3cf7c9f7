"""Training of the built-in model of agreement: CLIP's loss on drawn clips (arXiv 2103.00020).

    L = 1/2 [CE(s u v^T, i) + CE(s v u^T, i)]

with unit vectors u of captions and v of clips. A batch of random captions can be told apart by the
subject alone, and a rare word is never needed. So each clip also meets captions that differ from
its own in one statement: "slowly" for "quickly", the other color, motions of a pair exchanged.
"""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...agreement.model import AgreementConfig, AgreementModel
from ...nano.world.captions import altered, write
from ...nano.world.stream import HeldOut, samples
from ...text.encoder import TextEncoder
from ..loop.config import TrainConfig
from ..loop.distributed import distributed_state
from ..loop.micro_batch import MicroBatch
from ..loop.trainer import train

NEGATIVES = 3  # captions of each clip that differ in one statement
PIXEL_NOISE = 0.05  # largest standard deviation: generated videos are not as clean as drawn ones


def contrastive_loss(video: Tensor, text: Tensor, negatives: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's loss, with more captions for each clip.

    Args:
        video: unit vectors v `[B, D]`.
        text: unit vectors u of their captions, `[B, D]`.
        negatives: unit vectors of captions that are wrong for each clip, `[B, N, D]`.
        scale: s.
    """
    target = torch.arange(len(video), device=video.device)
    products = scale * video @ text.T  # [B, B]
    wrong = scale * torch.einsum("bd,bnd->bn", video, negatives)  # [B, N]
    to_text = F.cross_entropy(torch.cat([products, wrong], dim=1), target)
    return (to_text + F.cross_entropy(products.T, target)) / 2


def train_agreement(
    settings: TrainConfig, folder: Path, text: TextEncoder, config: AgreementConfig | None = None
) -> AgreementModel:
    """Train a model of agreement on clips of the built-in world; resumes in `folder`.

    Args:
        settings: of the training.
        folder: of the run.
        text: encoder of a video model of this world, frozen here.
        config: sizes of the model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # equal in all processes
        model = AgreementModel(config or AgreementConfig(), text)

    def loss(micro_batch: MicroBatch) -> dict[str, Tensor]:
        device = distributed_state().device
        clips, captions, wrong = zip(*map(_draw, micro_batch.clip_seeds), strict=True)
        frames = torch.stack(clips).to(device)
        noise, (u,) = micro_batch.draw(frames.shape[1:], 1, device)
        frames = frames + PIXEL_NOISE * u.reshape(-1, 1, 1, 1, 1) * noise
        text = model.embed_text([*captions, *(text for texts in wrong for text in texts)])
        own, negatives = text[: len(captions)], text[len(captions) :]
        negatives = negatives.unflatten(0, (len(captions), NEGATIVES))
        video = model.embed_video(frames)
        return {"contrastive": contrastive_loss(video, own, negatives, model.scale)}

    return train("agreement", model, loss, settings, folder)


def _draw(seed: int) -> tuple[Tensor, str, list[str]]:
    """Draw a clip `[3, T, H, W]` in -1..1, its caption, and captions that are wrong for it."""
    scene, said, caption = next(samples(seed))
    rng = random.Random(seed)
    return (
        scene.render() * 2 - 1,
        caption,
        [write(altered(said, rng), rng) for _ in range(NEGATIVES)],
    )


@torch.no_grad()
def preference(
    model: AgreementModel, count: int, seed: int, held_out: HeldOut = "wording"
) -> float:
    """Return how often a held-out clip agrees more with its caption than with an altered one."""
    rng = random.Random(seed)
    right = 0
    for scene, said, caption in islice(samples(seed, held_out=held_out), count):
        other = write(altered(said, rng), rng, unusual=held_out == "order")
        video = model.embed_video(scene.render()[None] * 2 - 1)  # [1, D]
        true, false = (video @ model.embed_text([caption, other]).T)[0].tolist()
        right += true > false
    return right / count
