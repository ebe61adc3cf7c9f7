"""Fine-tuning of a LoRA on a style or subject, from a folder of clips or images.

A trigger word in the prompt calls for the style or subject; without it the model stays close to the
original (prior preservation as in DreamBooth, arXiv 2208.12242, here on the model's predictions).

Images are clips of one frame. They have no motion, so a folder of images alone trains only the
layers that see single frames (as in AnimateDiff, arXiv 2307.04725).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ... import __version__
from ...curation.sources import VIDEO_SUFFIXES
from ...devices import DTYPES
from ...errors import CheckpointError, InputError
from ...files import check_destination
from ...inputs.timed_captions import prefixed
from ...lora.layers import lora_from_peft, new_lora
from ...lora.merge import LoRA, save_lora
from ...lora.metadata import TrainingFacts, identify_base, training_metadata
from ...pipeline import HummingbirdPipeline
from ...settings import FULL_SIZE
from ...text.encoder import TextEncoder
from ...unet.layers import TemporalConvBlock, TemporalTransformer
from ...unet.model import HummingbirdUNet, UNetConfig
from ..data.clip_index import PICTURE_SUFFIXES, list_clips
from ..data.clip_order import ClipConfig
from ..data.clip_reading import FrameConfig
from ..data.clip_sizes import warn_of_sizes
from ..data.clip_sources import CachedClips, Mixture
from ..data.latent_cache import CachedClip, cache_latents
from ..loop.config import TrainConfig
from ..loop.distributed import distributed_state
from ..loop.modules import add_lora, set_dropout
from ..loop.phase import Loss
from ..loop.snapshots import Snapshots
from ..loop.tracking import Watch, check_tracker
from ..loop.trainer import train
from .losses import Captions, StudentLoss, TeacherLoss

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

Precision = Literal["fp32", "fp16", "bf16"]

SMALL_NETWORK_CHANNELS = 64
TEACHER_CAPTION_DROPOUT = 0.1  # classifier-free guidance of teachers needs predictions without text


@dataclass(frozen=True)
class LoRAFinetuneConfig:
    """Settings of a fine-tuning run.

    Args:
        trigger: word put before every caption; "" applies the style to all prompts.
        rank: rank of the LoRA.
        steps: optimizer steps.
        learning_rate: constant after a short warm-up.
        batch: clips per step; fewer clips are repeated with different noise.
        num_frames: frames of a clip.
        height, width: pixels, multiples of 8.
        seed: seed of all random numbers.
    """

    trigger: str = ""
    rank: int = 16
    steps: int = 500
    learning_rate: float = 2e-4
    batch: int = 4
    num_frames: int = 16
    height: int = FULL_SIZE.height
    width: int = FULL_SIZE.width
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "steps", "batch", "num_frames"):
            if getattr(self, name) < 1:
                raise InputError(f"got {name} {getattr(self, name)}, expected at least 1")

    @classmethod
    def for_model(cls, config: UNetConfig) -> LoRAFinetuneConfig:
        """Return the settings for a U-Net of `config`: its training size, and its learning rate."""
        # A small network takes larger steps.
        is_small = config.model_channels <= SMALL_NETWORK_CHANNELS
        rate = 2e-3 if is_small else cls.learning_rate
        return cls(learning_rate=rate, height=config.height, width=config.width)


def finetune_lora(
    source: str | Path,
    pipe: HummingbirdPipeline,
    output: Path,
    settings: LoRAFinetuneConfig,
    *,
    base: str | Path | None = None,
    overwrite: bool = False,
    tracker: str = "",
) -> LoRA:
    """Train a LoRA and write it for ComfyUI's stock loader; continues an interrupted call.

    Latents and the state of the run are kept in the folder `NAME.run` next to the output.

    Args:
        source: folder of clips and images with captions in `.txt` files of the same names, or any
            other source that `clip_index.list_clips` supports.
        pipe: a teacher or student in fp32 on the CPU; the LoRA is injected into its U-Net.
        output: the .safetensors file to write.
        settings: settings of the run.
        base: name or file of the pipeline's model, for the metadata of the output.
        overwrite: whether to replace an existing output.
        tracker: see `loop.tracking.Watch`.

    Raises:
        InputError: the source or a setting can't be used.
        CheckpointError: the model lacks a part.
        OutputError: the output exists already, or can't be written.
        KeyboardInterrupt: Ctrl-C; the state was saved.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"got output {output.name}, expected a name that ends in .safetensors")
    check_destination(output, overwrite=overwrite)
    check_tracker(tracker)
    folder = output.with_suffix(".run")
    vae, text_encoder = _require_parts(pipe)
    clips = encode_source(source, vae, folder / "latents", settings)
    name = f"lora-{run_hash(pipe.unet, settings, clips)}"
    loss = make_loss(pipe.unet, text_encoder, clips, settings)
    _add_lora(pipe.unet, settings, only_images=all(clip.num_frames == 1 for clip in clips))

    facts = _facts(output.stem, settings, clips, base)

    def lora_after(steps: int) -> LoRA:
        lora = lora_from_peft(pipe.unet)
        lora.metadata = training_metadata(replace(facts, steps=steps), pipe.unet)
        return lora

    def write(weights: dict[str, Tensor], path: Path, step: int) -> None:
        save_lora(lora_after(step), path, overwrite=True)

    training = _train_settings(settings)
    snapshots = Snapshots(folder / "checkpoints", write, training.keep_last, keep_best=False)
    watch = Watch(output.stem, tracker, asdict(settings))
    train(name, pipe.unet, loss, training, folder, snapshots=snapshots, watch=watch)
    lora = lora_after(settings.steps)
    if distributed_state().is_main_process:
        save_lora(lora, output, overwrite=overwrite)
    return lora


def _facts(
    title: str,
    settings: LoRAFinetuneConfig,
    clips: Sequence[CachedClip],
    base: str | Path | None,
) -> TrainingFacts:
    """Return what the file will say about itself."""
    name, digest = identify_base(base) if base else ("", "")
    return TrainingFacts(
        title,
        name,
        digest,
        rank=settings.rank,
        alpha=settings.rank,
        steps=settings.steps,
        trigger=settings.trigger,
        clips=len(clips),
        version=__version__,
        dataset_sha256=hashlib.sha256(_identity(clips)).hexdigest(),
        settings=asdict(settings),
    )


def _identity(clips: Sequence[CachedClip]) -> bytes:
    """Return names, captions and pixels of clips; a file of latents is named by a pixel hash."""
    return json.dumps([(c.name, c.caption, c.path.stem) for c in clips]).encode()


def _require_parts(pipe: HummingbirdPipeline) -> tuple[AutoencoderKL, TextEncoder]:
    if pipe.vae is None or pipe.text_encoder is None:
        raise CheckpointError(
            "got a model without VAE or text encoder, expected a whole one: convert the original "
            "file, which holds all three"
        )
    return pipe.vae, pipe.text_encoder


def encode_source(
    source: str | Path, vae: AutoencoderKL, cache: Path, settings: LoRAFinetuneConfig
) -> list[CachedClip]:
    """Encode the clips and images of a source into `cache`, with the trigger in their captions.

    Raises:
        InputError: the source has no usable clip, or neither captions nor a trigger word.
    """
    videos = [
        replace(video, caption=prefixed(settings.trigger, video.caption))
        for video in list_clips(source, suffixes=VIDEO_SUFFIXES | PICTURE_SUFFIXES)
    ]
    if not any(video.caption for video in videos):
        raise InputError(
            f"got {source} without captions, and no trigger word: give --trigger WORD, or captions "
            "in .txt files next to the clips"
        )
    frames = FrameConfig(settings.height, settings.width)
    vae.to(distributed_state().device)
    clips = cache_latents(videos, vae, cache, frames).clips
    warn_of_sizes(clips, frames)
    vae.to("cpu")
    if not clips:
        raise InputError(f"got {source} without a usable clip or picture: see the warning above")
    return clips


def make_loss(
    unet: HummingbirdUNet,
    encoder: TextEncoder,
    clips: Sequence[CachedClip],
    settings: LoRAFinetuneConfig,
) -> Loss:
    """Return the loss for the LoRA of `unet`: a student's or a teacher's."""
    is_student = unet.config.guidance_embedding
    sources = clip_sources(clips, settings, 0.0 if is_student else TEACHER_CAPTION_DROPOUT)
    mixture = Mixture([(source, len(source.clips)) for source in sources], settings.seed)
    encoder.to(distributed_state().device)
    captions = Captions.encode(encoder, [clip.caption for clip in clips], settings.trigger)
    encoder.to("cpu")
    if is_student:
        return StudentLoss(unet, mixture, captions, settings.num_frames)
    return TeacherLoss(unet, mixture, captions)


def clip_sources(
    clips: Sequence[CachedClip], settings: LoRAFinetuneConfig, caption_dropout: float
) -> list[CachedClips]:
    """Return one source of the videos and one of the images, each if there are any.

    Raises:
        InputError: all clips are too short.
    """
    videos = [clip for clip in clips if clip.num_frames > 1]
    images = [clip for clip in clips if clip.num_frames == 1]
    lengths = ((videos, settings.num_frames), (images, 1))
    sources = [
        CachedClips.of(
            some, ClipConfig(length, caption_dropout=caption_dropout, seed=settings.seed)
        )
        for some, length in lengths
        if some
    ]
    usable = [source for source in sources if source.clips]
    if not usable:
        raise InputError(
            f"got clips of fewer than {settings.num_frames} frames only: give longer ones, or "
            "fewer --frames"
        )
    return usable


def _add_lora(unet: HummingbirdUNet, settings: LoRAFinetuneConfig, *, only_images: bool) -> None:
    """Freeze the U-Net and inject a new LoRA."""
    unet.requires_grad_(False)
    unet.gradient_checkpointing = distributed_state().device.type != "cpu"
    set_dropout(unet, 0.0)
    generator = torch.Generator().manual_seed(settings.seed)
    lora = new_lora(unet, settings.rank, settings.rank, generator)
    if only_images:
        lora.weights = {
            name: weight for name, weight in lora.weights.items() if not _is_temporal(name, unet)
        }
    add_lora(unet, lora, DTYPES[_precision()])


def _is_temporal(layer: str, unet: HummingbirdUNet) -> bool:
    """Return whether a layer is part of a temporal block."""
    names = layer.split(".")
    parents = (unet.get_submodule(".".join(names[:length])) for length in range(len(names)))
    return any(isinstance(parent, (TemporalConvBlock, TemporalTransformer)) for parent in parents)


def run_hash(
    unet: HummingbirdUNet, settings: LoRAFinetuneConfig, clips: Sequence[CachedClip]
) -> str:
    """Return a hash of all that defines a run, except for the number of steps."""
    digest = hashlib.sha256(json.dumps(asdict(replace(settings, steps=1))).encode())
    digest.update(unet.get_parameter("out.2.weight").detach().numpy().tobytes())  # which model
    digest.update(_identity(clips))
    return digest.hexdigest()[:8]


def _train_settings(settings: LoRAFinetuneConfig) -> TrainConfig:
    return TrainConfig(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        warmup=10,
        batch=settings.batch,
        precision=_precision(),
        seed=settings.seed,
    )


def _precision() -> Precision:
    if distributed_state().device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
