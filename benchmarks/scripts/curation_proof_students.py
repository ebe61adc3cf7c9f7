"""Students of the proof: trained on one arm alone, and judged by the readers of the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from hummingbird_core.curation.source_video import SourceVideo
from hummingbird_core.nano.readers.scene import SceneReading, SubjectReading, read_scene
from hummingbird_core.nano.world.captions import Mention, Said
from hummingbird_core.nano.world.paths import FRAME_SIZE, NANO_FPS, NUM_FRAMES, Clip
from hummingbird_core.nano.world.stream import samples
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.text.encoder import TextEncoder
from hummingbird_core.training.data.batch import batch_of
from hummingbird_core.training.data.clip_order import ClipConfig
from hummingbird_core.training.data.clip_reading import FrameConfig
from hummingbird_core.training.data.clip_sources import CachedClips
from hummingbird_core.training.data.latent_cache import cache_latents
from hummingbird_core.training.distillation.losses import inverse_snr_weight
from hummingbird_core.training.distillation.noise import draw_timesteps, x0_to_eps
from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.loop.modules import freeze
from hummingbird_core.training.loop.trainer import train
from hummingbird_core.training.nano.teacher import (
    CAPTION_DROPOUT,
    NOISE,
    clip_length,
    zero_residual_branches,
)
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

PROMPT_SEED = 2026  # of the held-out prompts
SAMPLING = {"num_inference_steps": 20, "guidance_scale": 7.5}
SIZE = {"height": FRAME_SIZE, "width": FRAME_SIZE}
FRAMES = FrameConfig(FRAME_SIZE, FRAME_SIZE, max_frames=NUM_FRAMES)
TRAINING = TrainConfig(
    steps=1,
    learning_rate=2e-3,
    warmup=30,
    decay="cosine",
    batch=8,
    betas=(0.9, 0.99),
    weight_decay=1e-3,
    ema_decay=0.99,
    save_every=200,
)


@dataclass(frozen=True)
class DenoisingLoss:
    """Noise prediction on clips, of which short windows come first, as the built-in teacher learns.

    Attributes:
        unet: in training, from random weights.
        text_encoder: frozen.
        clips: by the length of their windows.
        steps: of the training.
    """

    unet: HummingbirdUNet
    text_encoder: TextEncoder
    clips: dict[int, CachedClips]
    steps: int

    def __call__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """Return {"noise": loss} of a micro-batch."""
        num_frames = min(clip_length(micro_batch.step, self.steps), NUM_FRAMES)
        micro_batch = micro_batch.wider(NUM_FRAMES // num_frames)
        batch = batch_of(self.clips[num_frames], micro_batch)
        noise, (u,) = micro_batch.draw(batch.latents.shape[1:], 1, batch.latents.device)
        t = draw_timesteps(u, NOISE)
        sample = NOISE.noisy(batch.latents, noise, t)
        context = self.text_encoder.encode(batch.captions, warn=False).embeddings
        eps = self.unet(sample, t, context, fps=batch.fps)
        error = (eps - x0_to_eps(batch.latents, sample, t)).square().mean(dim=(1, 2, 3, 4))  # [B]
        return {"noise": (inverse_snr_weight(t) * error).mean()}


def train_student(
    videos: Sequence[SourceVideo],
    model: HummingbirdPipeline,
    folder: Path,
    config: UNetConfig,
    steps: int,
    seed: int,
) -> HummingbirdPipeline:
    """Train a U-Net from random weights on an arm; resumes in `folder`.

    Args:
        videos: the arm's clips and captions.
        model: gives the frozen VAE and text encoder; its U-Net is not used.
        folder: of the run; latents are shared by all arms, beside it.
        config: of the U-Net.
        steps: of the training.
        seed: of weights, order and noise.
    """
    cached = cache_latents(videos, model.vae, folder.parent / "latents", FRAMES).clips
    lengths = (NUM_FRAMES // 4, NUM_FRAMES // 2, NUM_FRAMES)
    settings = [
        ClipConfig(n, max_stride=1, caption_dropout=CAPTION_DROPOUT, seed=seed) for n in lengths
    ]
    clips = {one.num_frames: CachedClips.of(cached, one) for one in settings}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = HummingbirdUNet(config)
    zero_residual_branches(unet)
    freeze(model.text_encoder, "fp32")
    loss = DenoisingLoss(unet, model.text_encoder, clips, steps)
    train("student", unet, loss, replace(TRAINING, steps=steps, seed=seed), folder)
    return HummingbirdPipeline(unet.eval(), model.vae, model.text_encoder)


def judge(pipe: HummingbirdPipeline, count: int, batch: int = 8) -> dict[str, list[bool]]:
    """Return by kind of statement whether the videos of held-out prompts show it.

    "joint" is all that a prompt says. The readers are deterministic and nothing learned.
    """
    stream = samples(PROMPT_SEED, Clip(), held_out="wording")
    wanted = [(said, text) for _, said, text in islice(stream, count)]
    checks: dict[str, list[bool]] = {}
    for start in tqdm(range(0, count, batch), desc="judging", leave=False, disable=None):
        part = wanted[start : start + batch]
        settings = {**SAMPLING, **SIZE, "num_frames": NUM_FRAMES, "fps": NANO_FPS, "seed": start}
        video = pipe([text for _, text in part], **settings)
        for (said, _), frames in zip(part, video.frames, strict=True):
            found = check(said, read_scene(frames, NANO_FPS))
            for kind, right in {**found, "joint": all(found.values())}.items():
                checks.setdefault(kind, []).append(right)
    return checks


def check(said: Said, seen: SceneReading) -> dict[str, bool]:
    """Return whether a video shows each kind of statement of a caption."""
    found = {
        "count": len(said.mentions) == len(seen.subjects),
        "place": seen.place == (said.place or ""),
        "camera": seen.camera == said.camera,
    }
    if said.tone:
        found["tone"] = seen.tone == said.tone
    for mention in said.mentions:
        subject = _subject_of(mention, said, seen)
        for kind, right in _statements(mention, subject).items():
            found[kind] = found.get(kind, True) and right
    return found


def _subject_of(mention: Mention, said: Said, seen: SceneReading) -> SubjectReading | None:
    if len(said.mentions) == 1:
        return next(iter(seen.subjects), None)
    return next((s for s in seen.subjects if s.look.name == mention.subject), None)


def _statements(mention: Mention, seen: SubjectReading | None) -> dict[str, bool]:
    if seen is None:
        return {"subject": False}
    right = {"subject": seen.look.name == mention.subject}
    if mention.color:
        right["color"] = seen.look.color == mention.color
    for kind in ("motion", "size", "pace"):
        if wanted := getattr(mention, kind):
            right[kind] = getattr(seen, kind) == wanted
    return right
