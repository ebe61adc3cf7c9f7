"""Text to video in one object: text encoder, U-Net sampling, VAE decoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .checkpoints.load import Checkpoint, load_checkpoint
from .devices import best_device, check_device, default_dtype, trim_memory
from .errors import CheckpointError
from .hub.local import resolve_model
from .reporting import Progress, count_steps, decoding, part_of
from .sampling.consistency import consistency_timesteps, sample_lcm
from .sampling.context_windows import ContextWindows, freenoise_shuffle, sliding_window
from .sampling.ddim import ddim_timesteps, sample_ddim
from .sampling.guidance import EpsModel, cfg_eps, distilled_guidance_eps, reporting
from .sampling.noise import initial_noise, step_noises
from .seeds import video_seed
from .settings import WINDOW_FRAMES, ModelDefaults, check_settings
from .terminal import get_logger
from .text.encoder import TextEncoder, TextEncoding
from .unet.model import HummingbirdUNet
from .vae.codec import check_finite, decode_latents, encode_video, vae_scale_factor

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL, AutoencoderTiny

logger = get_logger(__name__)

DECODED_FRAMES = 32  # decoded frames of each video held as floats at a time


@dataclass(frozen=True)
class VideoOutput:
    """Videos with their latents, prompts and seeds.

    Attributes:
        frames: uint8 `[B, T, H, W, 3]`.
        latents: denoised latents `[B, 4, T, H/8, W/8]` on the CPU; an inference tensor, so
            `.clone()` it to train on it.
        prompts: one per video.
        text: token counts, and the text that was cut off or unknown.
        seeds: one per video; video i of a batch equals the single video of seed + i.
    """

    frames: np.ndarray
    latents: Tensor
    prompts: list[str]
    text: TextEncoding
    seeds: list[int]


class HummingbirdPipeline:
    """Text to video with any checkpoint of the family.

    Students sample with consistency steps and take the guidance scale as an input; a teacher
    samples with DDIM and classifier-free guidance, two U-Net calls in a guided step.

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

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> HummingbirdPipeline:
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
    def from_checkpoint(cls, checkpoint: Checkpoint) -> HummingbirdPipeline:
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
        return ModelDefaults(config.height, config.width, config.frames, config.cfg_start_timestep)

    @torch.inference_mode()
    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        width: int | None = None,
        height: int | None = None,
        num_frames: int = 16,
        num_inference_steps: int = 4,
        guidance_scale: float = 7.5,
        fps: float = 8,
        seed: int = 0,
        context_length: int | None = None,
        context_overlap: int | None = None,
        progress: Progress | None = None,
    ) -> VideoOutput:
        """Generate one video per prompt.

        Args:
            prompt: one text or several.
            width, height: pixels, multiples of 8; default: the training size.
            num_frames: at least 1; a video longer than the training clips is sampled in windows,
                with the memory of one window.
            num_inference_steps: 1 to 50.
            guidance_scale: how closely to follow the prompt; students were trained on 5 to 15.
            fps: frames per second of the motion.
            seed: of the first video; the next ones use seed + 1, seed + 2, ...
            context_length, context_overlap: frames per window, and the minimum shared with the
                next one; see `context_windows` for the defaults.
            progress: called with (done, total, what).

        Raises:
            InputError: a setting is out of range.
            NumericalError: the model produced NaN or infinity.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        check_settings(
            prompts,
            width=width,
            height=height,
            num_frames=num_frames,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            fps=fps,
            seed=seed,
            context_length=context_length,
            context_overlap=context_overlap,
        )
        windows = self.context_windows(num_frames, context_length, context_overlap)
        self._warn_if_untrained(min(num_frames, windows.length))
        text = self._require(self.text_encoder, "text encoder").encode(prompts)
        shape = self._latent_shape(len(prompts), num_frames, height, width)
        latents = self.sample(
            text.embeddings,
            latents=freenoise_shuffle(initial_noise(shape, seed), windows),
            noises=step_noises(shape, seed),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            fps=fps,
            windows=windows,
            progress=progress,
        )
        frames = self._decode_to_uint8(latents, progress)
        if self.device.type == "cpu":
            trim_memory()
        return VideoOutput(
            frames=frames,
            latents=latents.float().cpu(),
            prompts=prompts,
            text=text,
            seeds=[video_seed(seed, i) for i in range(len(prompts))],
        )

    @torch.no_grad()
    def encode_prompt(self, prompt: str | Sequence[str]) -> Tensor:
        """Encode text to embeddings `[B, 77, C]`."""
        return self._require(self.text_encoder, "text encoder").encode(prompt).embeddings

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
        """Encode video `[B, 3, T, H, W]` in -1..1 to the mean latents `[B, 4, T, H/8, W/8]`."""
        vae = self._require(self.vae, "VAE")
        return encode_video(vae, video, encode_chunk_size=encode_chunk_size, sample=False)

    @torch.no_grad()
    def sample(
        self,
        encoder_hidden_states: Tensor,
        *,
        latents: Tensor,
        noises: Iterable[Tensor],
        num_inference_steps: int = 4,
        guidance_scale: float = 7.5,
        fps: float | Tensor = 8,
        windows: ContextWindows | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Denoise latents; all randomness is injected, so the result is deterministic.

        Args:
            encoder_hidden_states: text embedding `[B, 77, C]`.
            latents: starting noise `[B, 4, T, h, w]`.
            noises: noise added after each step but the last, each shaped like `latents`.
            num_inference_steps, guidance_scale, fps, progress: as in `__call__`.
            windows: for long videos; default: see `context_windows`.

        Returns:
            Denoised latents `[B, 4, T, h, w]`, float32: only the U-Net runs in lower precision.

        Raises:
            InputError: `noises` ends too early.
        """
        context = encoder_hidden_states.to(self.device, self.dtype)
        latents = latents.to(self.device, torch.float32)
        windows = windows or self.context_windows(latents.shape[2])
        is_student = self.unet.config.guidance_embedding
        timesteps = (consistency_timesteps if is_student else ddim_timesteps)(num_inference_steps)
        calls = windows.count_calls(timesteps.tolist(), latents.shape[2])
        predict = self._noise_predictor(context, guidance_scale, fps)
        predict = sliding_window(reporting(predict, count_steps(progress, calls)), windows)
        if is_student:
            return sample_lcm(predict, latents, noises, num_inference_steps)
        rescale = self.unet.config.dynamic_rescale
        return sample_ddim(predict, latents, num_inference_steps, rescale=rescale)

    def _noise_predictor(
        self, context: Tensor, guidance_scale: float, fps: float | Tensor
    ) -> EpsModel:
        if self.unet.config.guidance_embedding:
            return distilled_guidance_eps(self.unet, context, guidance_scale, fps)
        empty, start = self.encode_prompt(""), self.trained.cfg_start_timestep
        return cfg_eps(self.unet, context, empty, guidance_scale, fps, start)

    def context_windows(
        self,
        num_frames: int,
        length: int | None = None,
        overlap: int | None = None,
        *,
        from_noise: bool = True,
    ) -> ContextWindows:
        """Return the windows for a video of `num_frames`.

        Args:
            num_frames: up to the longest training clip, the default is a single window.
            length: default for longer videos: 16 frames.
            overlap: default: see `ContextWindows.default`.
            from_noise: False for video to video, whose input replaces the keyframe pass.
        """
        if length is None:
            is_long = num_frames > max(self.trained.frames)
            length = WINDOW_FRAMES if is_long else num_frames
        keyframe_pass = from_noise and self.unet.config.frame_phase
        return ContextWindows.default(length, overlap, keyframe_pass=keyframe_pass)

    def _decode_to_uint8(self, latents: Tensor, progress: Progress | None) -> np.ndarray:
        """Decode to frames `[B, T, H, W, 3]`; holds only a part of a long video as floats."""
        total = latents.shape[0] * latents.shape[2]
        parts, done = [], 0
        for part in latents.split(DECODED_FRAMES, dim=2):
            report = part_of(progress, done, total)
            parts.append(to_uint8(self.decode(part, progress=report)))
            done += part.shape[0] * part.shape[2]
        return np.concatenate(parts, axis=1)

    def _latent_shape(
        self, batch: int, num_frames: int, height: int | None, width: int | None
    ) -> tuple[int, ...]:
        factor = vae_scale_factor(self._require(self.vae, "VAE"))
        height = height or self.trained.height
        width = width or self.trained.width
        channels = self.unet.config.in_channels
        return batch, channels, num_frames, height // factor, width // factor

    def _warn_if_untrained(self, num_frames: int) -> None:
        frames = self.trained.frames
        if num_frames not in frames:
            logger.warning(
                "%d frames requested, but the model was trained on %s: motion may suffer",
                num_frames,
                " or ".join(map(str, frames)),
            )

    @staticmethod
    def _require(part, name: str):
        if part is None:
            raise CheckpointError(
                f"got a checkpoint without {name}, expected a whole model: convert the original "
                "file, which holds U-Net, VAE and text encoder"
            )
        return part


def to_uint8(video: Tensor) -> np.ndarray:
    """Convert video `[B, 3, T, H, W]` in -1..1 to frames, uint8 `[B, T, H, W, 3]`."""
    levels = ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 4, 1).cpu().numpy()
