"""Text to video with an exported model, without PyTorch: the videos of `HummingbirdPipeline`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError, NumericalError
from ..inputs.prompt_parts import is_schedule
from ..reporting import Progress, count_steps, decoding
from ..settings import Loop, check_settings, sampled_frames
from ..text.tokenizer import warn_of_lost_text
from .base import Model, Runtime, open_runtime
from .folder import MODELS, ExportSettings, load_tokenizer, model_file, read_settings
from .noise import initial_noise, step_noises
from .sampler import EpsModel, guidance_scale_embedding, sample_ddim, sample_lcm


@dataclass(frozen=True)
class ExportedVideo:
    """One video, as a batch of one.

    Attributes:
        frames: uint8 `[1, T, H, W, 3]`.
        latents: denoised latents `[1, C, T, h, w]`, float32.
    """

    frames: np.ndarray
    latents: np.ndarray


class ExportedPipeline:
    """The three models of an export on one runtime.

    Attributes:
        settings: of the export.
    """

    def __init__(self, folder: Path, runtime: str, device: str = "cpu"):
        """Load an exported model.

        Args:
            folder: written by `hummingbird export`.
            runtime: "onnx" or "openvino"; OpenVINO runs exports to ONNX, too.
            device: see `runtime.onnx` and `runtime.openvino`.

        Raises:
            CheckpointError: a file is damaged, missing, or of another version.
            InputError: this machine has no such device, or the export is for another runtime.
            MissingPackageError: the runtime is not installed.
        """
        self.settings = read_settings(folder)
        opened = open_for(self.settings, runtime, device)
        self._place = f"{runtime} on {device}"
        self._tokenizer = load_tokenizer(folder)
        self._models: dict[str, Model] = {
            name: opened.load(model_file(folder, name, self.settings.runtime)) for name in MODELS
        }

    def __call__(
        self,
        prompt: str,
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
        loop: Loop = False,
        progress: Progress | None = None,
    ) -> ExportedVideo:
        """Generate one video; the arguments are those of `HummingbirdPipeline`.

        Raises:
            InputError: a setting is out of range, or not what the model was exported for.
            NumericalError: the model produced NaN or infinity.
        """
        check_settings(
            [prompt],
            width=width,
            height=height,
            num_frames=num_frames,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            fps=fps,
            seed=seed,
            context_length=context_length,
            context_overlap=context_overlap,
            loop=loop,
        )
        self._check_exported_for(prompt, width, height, num_frames, context_length, loop)
        shape = self.settings.latent_shape
        report = count_steps(progress, num_inference_steps)
        latents, steps = initial_noise(shape, seed), num_inference_steps
        if self.settings.guidance_dim:
            eps = self._student_eps(prompt, guidance_scale, fps, report)
            latents = sample_lcm(eps, latents, step_noises(shape, seed), steps)
        else:
            eps = self._teacher_eps(prompt, guidance_scale, fps, report)
            latents = sample_ddim(eps, latents, steps, rescale=self.settings.dynamic_rescale)
        if loop == "swing":  # 0 1 2 3 becomes 0 1 2 3 2 1
            latents = np.concatenate([latents, latents[:, :, -2:0:-1]], axis=2)
        return ExportedVideo(self.decode(latents, progress), latents)

    def encode_prompt(self, prompt: str) -> np.ndarray:
        """Encode one text to embeddings `[1, 77, C]`; warn of text that has no effect."""
        tokenized = self._tokenizer.tokenize(prompt)
        warn_of_lost_text(tokenized, self._tokenizer.context_length)
        return self._run("text", ids=np.array([tokenized.ids], np.int64))

    def decode(self, latents: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """Decode latents `[1, C, T, h, w]` to frames, uint8 `[1, T, 8h, 8w, 3]`."""
        images = latents[0].swapaxes(0, 1)  # [C, T, h, w] -> [T, C, h, w]
        count, size = len(images), self.settings.decode_chunk_size
        report, parts = decoding(progress), []
        for start in range(0, count, size):
            chunk = images[start : start + size]
            missing = size - len(chunk)  # the decoder takes no fewer: repeat the last frame
            padded = np.concatenate([chunk, chunk[-1:].repeat(missing, axis=0)])
            parts.append(to_uint8(self._run("decoder", latents=padded)[: len(chunk)]))
            if report:
                report(start + len(chunk), count)
        return np.concatenate(parts)[None]

    def _student_eps(self, prompt: str, scale: float, fps: float, report) -> EpsModel:
        """Return the noise predicted by a U-Net that takes the guidance scale as an input."""
        w = guidance_scale_embedding(scale, self.settings.guidance_dim or 0)
        conditions = {**self._conditions(prompt, fps), "timestep_cond": w}

        def predict(sample: np.ndarray, t: int) -> np.ndarray:
            eps = self._run("unet", sample=sample, timestep=np.array([t], np.int64), **conditions)
            report()
            return eps

        return predict

    def _teacher_eps(self, prompt: str, scale: float, fps: float, report) -> EpsModel:
        """Return the noise under classifier-free guidance: two calls a guided step."""
        with_text = self._conditions(prompt, fps)
        without_text = self._conditions("", fps)

        def predict(sample: np.ndarray, t: int) -> np.ndarray:
            timestep = np.array([t], np.int64)
            eps = self._run("unet", sample=sample, timestep=timestep, **with_text)
            if t >= self.settings.cfg_start_timestep:
                empty = self._run("unet", sample=sample, timestep=timestep, **without_text)
                eps = empty + np.float32(scale) * (eps - empty)
            report()
            return eps

        return predict

    def _conditions(self, prompt: str, fps: float) -> dict[str, np.ndarray]:
        return {
            "encoder_hidden_states": self.encode_prompt(prompt),
            "fps": np.array([fps], np.float32),
        }

    def _run(self, name: str, **inputs: np.ndarray) -> np.ndarray:
        """Call one model, whose inputs and output are float32 whatever it computes in."""
        output = self._models[name](inputs)
        if not np.isfinite(output).all():
            raise NumericalError(
                f"got NaN or infinite values from {name} ({self._place}, {self.settings.dtype}), "
                "expected finite ones: export the model with --dtype fp32, or use --device cpu"
            )
        return output

    def _check_exported_for(
        self,
        prompt: str,
        width: int | None,
        height: int | None,
        num_frames: int,
        context_length: int | None,
        loop: Loop,
    ) -> None:
        if is_schedule(prompt) or context_length is not None or loop not in (False, "swing"):
            raise InputError(
                "got a prompt over time, a context length or a loop, which exported models lack: "
                "use a single text and loop 'swing' (--swing), or PyTorch (no --runtime)"
            )
        made = self.settings
        wanted = (sampled_frames(num_frames, loop), height or made.height, width or made.width)
        if wanted != (made.num_frames, made.height, made.width):
            frames, tall, wide = wanted
            sampled = f" (of which loop 'swing' samples {frames})" if loop else ""
            raise InputError(
                f"got {num_frames} frames{sampled} of {wide}x{tall}, but the model was exported "
                f"for {made.num_frames} of {made.width}x{made.height}: ask for these, or export "
                f"it with --frames {frames} --width {wide} --height {tall}"
            )


def open_for(settings: ExportSettings, runtime: str, device: str) -> Runtime:
    """Return the runtime for an export.

    Raises:
        InputError: the export is for another runtime, or this machine has no such device.
        MissingPackageError: the runtime is not installed.
    """
    if settings.runtime != runtime and settings.runtime != "onnx":
        raise InputError(
            f"got a model exported for {settings.runtime} with --runtime {runtime}: use --runtime "
            f"{settings.runtime}, or export the model with --to {runtime}"
        )
    return open_runtime(runtime, device, settings.dtype)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Convert images `[N, 3, H, W]` in -1..1 to uint8 `[N, H, W, 3]`."""
    levels = ((images + 1) * np.float32(127.5)).round().clip(0, 255).astype(np.uint8)
    return levels.transpose(0, 2, 3, 1)
