"""Models and inputs for `hummingbird bench`: built-in, or of any preset with random weights.

Time and memory do not depend on the values of the weights, so benchmarks of released models need no
download: seeded random weights of their shapes suffice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..checkpoints.layout import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX
from ..cpu import accelerate_for_cpu
from ..devices import DTYPES
from ..errors import CheckpointError
from ..pipeline import HummingbirdPipeline
from ..sampling.consistency import guidance_scale_embedding
from ..settings import SIZE_MULTIPLE
from ..terminal import get_logger
from ..text.encoder import text_encoder_to_openclip
from ..unet.model import HummingbirdUNet, UNetConfig
from ..vae.codec import SCALING_FACTOR
from ..vae.names import diffusers_to_ldm
from ..vae.tiny import (
    BUILT_IN_DECODERS,
    PrunedDecoderConfig,
    build_pruned_decoder,
    load_fast_decoder,
)
from .measure import EXACT, ROUNDED

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL, AutoencoderTiny

    from ..text.encoder import TextEncoder

logger = get_logger(__name__)

BUILT_IN_PRESET = "nano"
TEACHER_PRESET = "videocrafter2"
PROMPT = "a red circle moves right"
NAMED_WITHOUT_DTYPE = ("speed", "devices")  # tables whose file names omit fp32
# Stable Diffusion's VAE.
VAE_CONFIG: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
}
# Results of `hummingbird train decoder --layers 1` with --divisor 2 and 4 for it.
PRUNED_CONFIGS = {
    "middle decoder": PrunedDecoderConfig((64, 128, 256, 256), 1, 16, SCALING_FACTOR),
    "pruned decoder": PrunedDecoderConfig((32, 64, 128, 128), 1, 8, SCALING_FACTOR),
}


@dataclass(frozen=True)
class BenchConfig:
    """Settings of a benchmark.

    Args:
        preset: "nano" for the built-in model, or a U-Net preset with random weights.
        height, width: pixels; default: the training resolution.
        frames: numbers of frames to measure; most tables use the first only.
        batch: videos per call.
        dtype: "fp32", "bf16" or "fp16".
        device: torch device.
        seed: seed of random weights and inputs.
        teacher_steps, student_steps: sampling steps in the table of speed.
    """

    preset: str = BUILT_IN_PRESET
    height: int | None = None
    width: int | None = None
    frames: tuple[int, ...] = (16,)
    batch: int = 1
    dtype: str = "fp32"
    device: str = "cpu"
    seed: int = 0
    teacher_steps: int = 50
    student_steps: tuple[int, ...] = (1, 2, 4, 8)

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width in pixels."""
        trained = UNetConfig.from_preset(
            "hummingbird-nano" if self.preset == BUILT_IN_PRESET else self.preset
        )
        return self.height or trained.height, self.width or trained.width

    @property
    def torch_dtype(self) -> torch.dtype:
        """Return the torch dtype of `dtype`."""
        return DTYPES[self.dtype]

    @property
    def tolerance(self) -> float:
        """Return the largest accepted relative L2, larger for dtypes of lower precision."""
        return EXACT if self.dtype == "fp32" else ROUNDED

    def file_name(self, table: str) -> str:
        """Return the name of a result: table, model, and non-default size, dtype and device."""
        trained = BenchConfig(self.preset)
        parts = [table, self.preset]
        if self.dtype != trained.dtype or table not in NAMED_WITHOUT_DTYPE:
            parts.append(self.dtype)
        if self.size != trained.size:
            parts.append("{}x{}".format(*self.size))
        if self.device != trained.device:
            parts.append(self.device.partition(":")[0])
        return "-".join(parts)

    def latent_shape(self, frames: int | None = None) -> tuple[int, ...]:
        """Return `[B, 4, T, h, w]`."""
        height, width = (side // SIZE_MULTIPLE for side in self.size)
        return self.batch, 4, frames or self.frames[0], height, width


def load_pipeline(settings: BenchConfig, *, teacher: bool = False) -> HummingbirdPipeline:
    """Load U-Net, VAE and text encoder of the student or of its teacher."""
    if settings.preset == BUILT_IN_PRESET:
        name = "nano-teacher" if teacher else "nano"
        return HummingbirdPipeline.from_pretrained(
            name, device=settings.device, dtype=settings.torch_dtype
        )
    unet = load_unet(settings, teacher=teacher)
    return HummingbirdPipeline(unet, load_full_vae(settings), _random_text_encoder(settings))


@contextmanager
def checkpoint_of(settings: BenchConfig) -> Iterator[str | Path]:
    """Yield what `from_pretrained` loads: "nano", or a temporary file of random fp16 weights."""
    if settings.preset == BUILT_IN_PRESET:
        yield BUILT_IN_PRESET
        return
    with TemporaryDirectory(prefix="hummingbird-bench-") as folder:
        file = Path(folder) / "random.safetensors"
        _write_random_checkpoint(file, settings)
        yield file


def _write_random_checkpoint(file: Path, settings: BenchConfig) -> None:
    """Write random weights in the layout of the released files."""
    half = replace(settings, dtype="fp16", device="cpu")
    parts = {
        UNET_PREFIX: load_unet(half).state_dict(),
        VAE_PREFIX: diffusers_to_ldm(load_full_vae(half).state_dict()),
        TEXT_PREFIX: text_encoder_to_openclip(_random_text_encoder(half)),
    }
    tensors = {
        prefix + name: tensor.contiguous()
        for prefix, weights in parts.items()
        for name, tensor in weights.items()
    }
    save_file(tensors, file)


def load_unet(settings: BenchConfig, *, teacher: bool = False) -> HummingbirdUNet:
    """Load the U-Net."""
    if settings.preset == BUILT_IN_PRESET:
        return load_pipeline(settings, teacher=teacher).unet
    config = UNetConfig.from_preset(TEACHER_PRESET if teacher else settings.preset)
    with _seeded(settings):
        unet = HummingbirdUNet(config, dtype=settings.torch_dtype, device=settings.device)
    return unet.eval()


def load_full_vae(settings: BenchConfig) -> AutoencoderKL:
    """Load the full VAE."""
    from diffusers.models import AutoencoderKL

    if settings.preset == BUILT_IN_PRESET:
        return load_pipeline(settings).vae
    with _seeded(settings):
        vae = AutoencoderKL(**VAE_CONFIG)
    accelerate_for_cpu(vae, linear_layers=False)
    return _placed(vae, settings)


def load_fast_decoders(settings: BenchConfig) -> dict[str, AutoencoderKL | AutoencoderTiny]:
    """Return decoders by name: the built-in ones, or random TAESD and pruned decoders.

    Logs a warning for a built-in decoder that does not exist.
    """
    from diffusers.models import AutoencoderTiny

    if settings.preset == BUILT_IN_PRESET:
        return _built_in_decoders(settings)
    with _seeded(settings):
        decoders = {"TAESD": AutoencoderTiny()}
        decoders |= {name: build_pruned_decoder(c) for name, c in PRUNED_CONFIGS.items()}
    return {name: _placed(decoder, settings) for name, decoder in decoders.items()}


def _built_in_decoders(settings: BenchConfig) -> dict[str, Any]:
    decoders = {}
    for kind in BUILT_IN_DECODERS:
        try:
            decoder = load_fast_decoder(kind, settings.torch_dtype)
            decoders[f"{kind} decoder"] = decoder.to(settings.device)
        except CheckpointError as error:
            logger.warning("%s", error)
    return decoders


def _placed(model: Any, settings: BenchConfig) -> Any:
    # Not diffusers' override of `to`, which warns about layers to keep in float32 even for none.
    return nn.Module.to(model, settings.device, settings.torch_dtype).eval()


def _random_text_encoder(settings: BenchConfig) -> TextEncoder:
    from ..text.encoder import TextConfig, TextEncoder
    from ..text.tokenizer import ClipTokenizer

    with _seeded(settings):
        encoder = TextEncoder(TextConfig(), ClipTokenizer())
    return _placed(encoder, settings)


def unet_inputs(
    settings: BenchConfig, unet: HummingbirdUNet, frames: int | None = None
) -> dict[str, Any]:
    """Return the arguments of one U-Net call, equal for all variants."""
    guided = unet.config.guidance_embedding
    w = guidance_scale_embedding(torch.full((settings.batch,), 7.5)) if guided else None
    context = random_tensor(settings, (settings.batch, 77, unet.config.context_dim))
    return {
        "sample": random_tensor(settings, settings.latent_shape(frames)),
        "timestep": 999,
        "encoder_hidden_states": context,
        "fps": 8,
        "timestep_cond": None if w is None else w.to(settings.device, settings.torch_dtype),
    }


def random_tensor(settings: BenchConfig, shape: tuple[int, ...]) -> Tensor:
    """Return normal noise in the config's dtype and on its device, drawn on the CPU."""
    generator = torch.Generator().manual_seed(settings.seed)
    return torch.randn(shape, generator=generator).to(settings.device, settings.torch_dtype)


@contextmanager
def _seeded(settings: BenchConfig) -> Iterator[None]:
    """Seed random weights inside the `with` block without changing the global state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        yield
