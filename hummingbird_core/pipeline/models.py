"""The models of a pipeline: load, move, merge LoRAs, encode text, encode and decode video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from ..checkpoints.load import Checkpoint, load_checkpoint
from ..devices import best_device, check_device, default_dtype
from ..errors import CheckpointError, InputError
from ..hub.local import resolve_model
from ..inputs.prompt_parts import is_schedule
from ..reporting import Progress, decoding
from ..settings import ModelDefaults
from ..text.encoder import TextEncoder
from ..unet.model import HummingbirdUNet
from ..vae.codec import check_finite, decode_latents, encode_video
from .loras import NamedLoRAs, check_not_hooked
from .prompts import encode_prompts

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL, AutoencoderTiny

Models = TypeVar("Models", bound="PipelineModels")


class PipelineModels:
    """U-Net, VAE and text encoder, of which the last two may be missing.

    Attributes:
        decode_chunk_size: frames decoded at a time; None chooses by their size.
    """

    def __init__(
        self,
        unet: HummingbirdUNet,
        vae: AutoencoderKL | AutoencoderTiny | None = None,
        text_encoder: TextEncoder | None = None,
    ):
        self.unet = unet
        self.vae = vae
        self.text_encoder = text_encoder
        self.decode_chunk_size: int | None = None
        self._named_loras = NamedLoRAs(unet)

    @classmethod
    def from_pretrained(
        cls: type[Models],
        name_or_path: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Models:
        """Load a model.

        Args:
            name_or_path: "nano" or "nano-teacher" for the built-in models, a checkpoint file, a
                folder with one, or the hub id of a repository that is in the hub's local cache.
            device: default: the best available.
            dtype: of all weights; default: float16 on a GPU, float32 on a CPU.

        Raises:
            CheckpointError: the model does not exist, or its file is damaged.
            InputError: the device is not available.
        """
        device = best_device() if device is None else check_device(device)
        dtype = default_dtype(device) if dtype is None else dtype
        path = resolve_model(name_or_path)
        return cls.from_checkpoint(load_checkpoint(path, dtype=dtype, device=device))

    @classmethod
    def from_checkpoint(cls: type[Models], checkpoint: Checkpoint) -> Models:
        """Return a pipeline with the models of a checkpoint."""
        return cls(checkpoint.unet, checkpoint.vae, checkpoint.text_encoder)

    @property
    def device(self) -> torch.device:
        """Device of the U-Net."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the U-Net's weights."""
        return next(self.unet.parameters()).dtype

    @property
    def trained(self) -> ModelDefaults:
        """Settings the U-Net was trained with."""
        config = self.unet.config
        return ModelDefaults(
            config.height,
            config.width,
            config.frames,
            config.cfg_start_timestep,
            config.loop_words,
        )

    def to(
        self: Models,
        device: torch.device | str | torch.dtype | None = None,
        dtype: torch.dtype | None = None,
    ) -> Models:
        """Move all models, as `pipe.to("cuda")` or `pipe.to("cuda", torch.float16)`; return itself.

        Raises:
            InputError: the device is not available, the dtype holds no floats, or weights are
                streamed or stored smaller.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        if dtype is not None and not dtype.is_floating_point:
            raise InputError(f"got {dtype} for weights, expected a float type: try torch.float16")
        place = None if device is None else check_device(device)
        models = [m for m in (self.unet, self.vae, self.text_encoder) if m is not None]
        for model in models:
            check_not_hooked(model, "another device or dtype")
        for model in models:
            # Not diffusers' own `to`, which warns of layers to keep in fp32 without naming any.
            torch.nn.Module.to(model, device=place, dtype=dtype)
        return self

    @property
    def _loras(self) -> NamedLoRAs:
        if self._named_loras.unet is not self.unet:  # another was put in its place
            self._named_loras = NamedLoRAs(self.unet)
        return self._named_loras

    @property
    def loras(self) -> dict[str, float]:
        """Strengths of the loaded LoRAs by name, 0 for those that are off."""
        return dict(self._loras.strengths)

    def load_lora(self, path: str | Path, name: str | None = None, strength: float = 1.0) -> str:
        """Merge a LoRA of any known format, on top of those that are loaded.

        Args:
            path: see `lora.load_lora`.
            name: for `set_loras` and `unload_lora`; default: the file's name without its suffix.
            strength: any finite number.

        Returns:
            The name.

        Raises:
            CheckpointError: the file is damaged, or fits no layer of the U-Net.
            InputError: the name is in use, or weights are streamed or stored smaller.
        """
        return self._loras.load(Path(path), name, strength)

    def set_loras(self, strengths: Mapping[str, float]) -> None:
        """Set strengths by name; LoRAs that are not named are switched off, but stay loaded.

        Raises:
            InputError: no LoRA of that name is loaded, or a strength is not finite.
        """
        self._loras.set(strengths)

    def unload_lora(self, name: str | None = None) -> None:
        """Undo and forget one LoRA, or all; the weights are then as before, bit by bit.

        Raises:
            InputError: no LoRA of that name is loaded.
        """
        self._loras.unload(name)

    @torch.no_grad()
    def encode_prompt(
        self,
        prompt: str | Sequence[str],
        *,
        num_frames: int | None = None,
        fps: float = 8,
        loop: bool = False,
    ) -> Tensor:
        """Encode text to embeddings `[B, 77, C]`.

        Args:
            prompt: one text or several.
            num_frames: for prompts over time, whose embeddings are one for each frame,
                `[B, T, 77, C]`.
            fps: for their times in seconds.
            loop: whether their last part blends into the first.

        Raises:
            InputError: a prompt over time has no `num_frames`, or does not fit them.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        encoder = self._require(self.text_encoder, "text encoder")
        if num_frames is not None:
            return encode_prompts(encoder, prompts, num_frames, fps, loop=loop).per_frame()
        if any(map(is_schedule, prompts)):
            raise InputError(
                "got a prompt over time, expected a single text: give num_frames to encode one"
            )
        return encoder.encode(prompts).embeddings

    @torch.no_grad()
    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Encode token ids `[B, 77]` to embeddings `[B, 77, C]`."""
        return self._require(self.text_encoder, "text encoder").encode_tokens(ids)

    @torch.no_grad()
    def decode(
        self,
        latents: Tensor,
        *,
        decode_chunk_size: int | None = None,
        tile: int | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Decode latents `[B, 4, T, h, w]` to video, float32 `[B, 3, T, 8h, 8w]` in about -1..1.

        `decode_chunk_size` and `tile` bound the memory, see `vae.decode_latents`.

        Raises:
            NumericalError: the latents or the frames hold NaN or infinity.
        """
        vae = self._require(self.vae, "VAE")
        check_finite(latents, "latents")
        report = decoding(progress)
        decode_chunk_size = decode_chunk_size or self.decode_chunk_size
        video = decode_latents(
            vae, latents, decode_chunk_size=decode_chunk_size, tile=tile, progress=report
        )
        check_finite(video, "frames")
        return video

    @torch.no_grad()
    def encode_video(self, video: Tensor, *, encode_chunk_size: int | None = None) -> Tensor:
        """Encode video `[B, 3, T, H, W]` in -1..1 to the mean latents `[B, 4, T, H/8, W/8]`.

        Raises:
            InputError: the VAE is a tiny decoder.
        """
        vae = self._require(self.vae, "VAE")
        if not hasattr(vae, "encoder"):
            raise InputError(
                "got a tiny decoder, expected the model's own VAE: only that can encode frames, "
                "such as a start image; leave out the tiny decoder"
            )
        return encode_video(vae, video, encode_chunk_size=encode_chunk_size, sample=False)

    @staticmethod
    def _require(part, name: str):
        if part is None:
            raise CheckpointError(
                f"got a checkpoint without {name}, expected a whole model: convert the original "
                "file, which holds U-Net, VAE and text encoder"
            )
        return part
