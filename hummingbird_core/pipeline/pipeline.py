"""Text to video in one object: text encoder, U-Net sampling, VAE decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..devices import trim_memory
from ..errors import InputError
from ..reporting import Progress, count_steps, part_of
from ..sampling.clip_frames import ClipEpsModel
from ..sampling.consistency import OnStep, consistency_timesteps, sample_lcm
from ..sampling.context_windows import ContextWindows, sliding_window
from ..sampling.ddim import ddim_timesteps, sample_ddim
from ..sampling.guidance import cfg_eps, distilled_guidance_eps, reporting
from ..sampling.noise import initial_noise, step_noises
from ..sampling.prompt_schedule import distinct_texts
from ..sampling.start_frames import frame_init, keep_start, with_start
from ..seeds import video_seed
from ..settings import WINDOW_FRAMES, Loop, check_can_loop, check_settings, sampled_frames
from ..terminal import get_logger
from ..vae.codec import vae_scale_factor
from .loops import complete_loop
from .models import PipelineModels
from .noise import DEFAULT_FRAMES, Generators, LatentShape, check_latents, draw_noise
from .output import OutputType, VideoOutput, check_output_type, join_frames, to_frames
from .prompts import encode_prompts
from .start_image import start_video

if TYPE_CHECKING:
    from .start_image import StartImage

logger = get_logger(__name__)

DECODED_FRAMES = 32  # decoded frames of each video held as floats at a time

# Called with the pipeline, the step's number, its timestep and {"latents": [B, 4, T, h, w]}, as in
# diffusers; returns {"latents": ...} to go on with, or None to change nothing.
Tensors = dict[str, Tensor]
StepCallback = Callable[["HummingbirdPipeline", int, int, Tensors], Tensors | None]


class HummingbirdPipeline(PipelineModels):
    """Text to video with any checkpoint of the family.

    Students sample with consistency steps and take the guidance scale as an input; a teacher
    samples with DDIM and classifier-free guidance, two U-Net calls in a guided step.

    Attributes:
        decode_chunk_size: frames decoded at a time; None chooses by their size.
    """

    @torch.inference_mode()
    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        width: int | None = None,
        height: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int = 4,
        guidance_scale: float = 7.5,
        fps: float = 8,
        seed: int | None = None,
        generator: Generators | None = None,
        latents: Tensor | None = None,
        start_image: StartImage | None = None,
        output_type: OutputType = "uint8",
        callback_on_step_end: StepCallback | None = None,
        context_length: int | None = None,
        context_overlap: int | None = None,
        loop: Loop = False,
        progress: Progress | None = None,
    ) -> VideoOutput:
        """Generate one video per prompt.

        Args:
            prompt: one text or several. A text may have parts over time, such as "0: a fox runs;
                2.5s: a fox sleeps", see `sampling.prompt_schedule`.
            negative_prompt: text to guide away from, one for all or one per prompt; for teachers
                only, as students have learned guidance away from the empty prompt.
            width, height: pixels, multiples of 8; default: the training size.
            num_frames: at least 1, by default 16; a video longer than the training clips is sampled
                in windows, with the memory of one window.
            num_inference_steps: 1 to 50.
            guidance_scale: how closely to follow the prompt; students were trained on 5 to 15.
            fps: frames per second of the motion.
            seed: of the first video, by default 0; the next ones use seed + 1, seed + 2, ...
            generator: torch generator to draw all noise from in place of a seed, or one per prompt.
            latents: starting noise `[B, 4, T, H/8, W/8]`; sets the size, unless that is given.
            start_image: first frame of every video, or several frames such as the end of another
                video, which are kept; see `start_image.start_video` for the forms. The model was
                not trained to continue it, so the prompt should describe it.
            output_type: of `frames`, see `VideoOutput`; "latent" decodes nothing.
            callback_on_step_end: called after each step, see `StepCallback`.
            context_length, context_overlap: frames per window, and the minimum shared with the
                next one; see `context_windows` for the defaults.
            loop: make the first frame follow the last one. "swing": sample half of the frames, and
                play them back in reverse, for motions that don't come back by themselves.
            progress: called with (done, total, what).

        Raises:
            InputError: a setting is out of range, or does not fit the model or another setting.
            NumericalError: the model produced NaN or infinity.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        check_output_type(output_type)
        frames = num_frames or (DEFAULT_FRAMES if latents is None else latents.shape[2])
        check_settings(
            prompts,
            width=width,
            height=height,
            num_frames=frames if num_frames is None else num_frames,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            fps=fps,
            seed=seed or 0,
            context_length=context_length,
            context_overlap=context_overlap,
            loop=loop,
        )
        is_loop = loop not in (False, "swing")
        for text in prompts if is_loop else ():
            check_can_loop(text, self.trained.loop_words)
        frames = sampled_frames(frames, loop)
        shape = self._latent_shape(len(prompts), frames, height, width, latents)
        windows = self.context_windows(frames, context_length, context_overlap, loop=is_loop)
        start = None if start_image is None else self._encode_start(start_image, shape)
        noise = draw_noise(shape, windows, seed, generator, latents)
        self._warn_if_untrained(min(frames, windows.length))
        encoder = self._require(self.text_encoder, "text encoder")
        encoded = encode_prompts(encoder, prompts, frames, fps, loop=is_loop)
        denoised = self.sample(
            encoded.embeddings,
            text_weights=encoded.weights,
            negative_prompt_embeds=self._encode_negative(negative_prompt, len(prompts)),
            latents=noise.latents,
            noises=noise.steps,
            start=start,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            fps=fps,
            windows=windows,
            callback_on_step_end=callback_on_step_end,
            progress=progress,
        )
        denoised = complete_loop(denoised, loop)
        decoded = self._decode_frames(denoised, output_type, progress)
        if self.device.type == "cpu":
            trim_memory()
        return VideoOutput(
            frames=decoded,
            latents=denoised.float().cpu(),
            prompts=prompts,
            text=encoded.report,
            seeds=[] if generator else [video_seed(seed or 0, i) for i in range(len(prompts))],
        )

    @torch.no_grad()
    def sample(
        self,
        encoder_hidden_states: Tensor,
        *,
        text_weights: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        latents: Tensor | None = None,
        noises: Iterable[Tensor] | None = None,
        start: Tensor | None = None,
        seed: int = 0,
        num_inference_steps: int = 4,
        guidance_scale: float = 7.5,
        fps: float | Tensor = 8,
        windows: ContextWindows | None = None,
        callback_on_step_end: StepCallback | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Denoise latents; no randomness but that of the seed, so the result is deterministic.

        Args:
            encoder_hidden_states: text embedding `[B, 77, C]`, one for each frame
                `[B, T, 77, C]`, or those of K texts `[B, K, 77, C]`.
            text_weights: of the K texts in each frame, `[B, T, K]`.
            negative_prompt_embeds: text embedding to guide away from, `[1 or B, 77, C]`; default:
                that of the empty prompt. For teachers only.
            latents: starting noise `[B, 4, T, h, w]`; default: from the seed, in the training size
                and with 16 frames.
            noises: noise added after each step but the last, each shaped like `latents`; default:
                from the seed.
            start: clean latents of first frames that are kept, `[1 or B, 4, K, h, w]`.
            seed: of the defaults.
            num_inference_steps, guidance_scale, fps, callback_on_step_end, progress: as in
                `__call__`.
            windows: for long videos; default: see `context_windows`.

        Returns:
            Denoised latents `[B, 4, T, h, w]`, float32: only the U-Net runs in lower precision.

        Raises:
            InputError: `noises` ends too early, or a student is given a negative prompt.
        """
        context = encoder_hidden_states.to(self.device, self.dtype)
        if context.ndim == 4 and text_weights is None:
            context, text_weights = distinct_texts(context)
        weights = None if text_weights is None else text_weights.to(context)
        if latents is None:
            shape = self._latent_shape(len(context), DEFAULT_FRAMES, None, None)
            latents = initial_noise(tuple(shape), seed)
        noises = step_noises(tuple(latents.shape), seed) if noises is None else noises
        latents = latents.to(self.device, torch.float32)
        windows = windows or self.context_windows(latents.shape[2])
        is_student = self.unet.config.guidance_embedding
        timesteps = (consistency_timesteps if is_student else ddim_timesteps)(num_inference_steps)
        calls = windows.count_calls(timesteps.tolist(), latents.shape[2])
        predict_clip = self._noise_predictor(
            context, weights, negative_prompt_embeds, guidance_scale, fps
        )
        predict = sliding_window(reporting(predict_clip, count_steps(progress, calls)), windows)
        rescale = self.unet.config.dynamic_rescale and not is_student
        if start is not None:
            start = start.to(latents)
            predict = keep_start(predict, start, latents, rescale=rescale)
            latents = frame_init(latents, start)
        on_step = self._on_step(callback_on_step_end)
        if is_student:
            denoised = sample_lcm(predict, latents, noises, num_inference_steps, on_step)
        else:
            denoised = sample_ddim(
                predict, latents, num_inference_steps, rescale=rescale, on_step=on_step
            )
        return denoised if start is None else with_start(denoised, start)

    def _noise_predictor(
        self,
        context: Tensor,
        text_weights: Tensor | None,
        negative: Tensor | None,
        guidance_scale: float,
        fps: float | Tensor,
    ) -> ClipEpsModel:
        if self.unet.config.guidance_embedding:
            if negative is not None:
                raise InputError(
                    "got a negative prompt for a student, expected none: it has learned guidance "
                    "away from the empty prompt; leave it out, or use a teacher"
                )
            return distilled_guidance_eps(self.unet, context, guidance_scale, fps, text_weights)
        empty = self.encode_prompt("") if negative is None else negative
        start = self.trained.cfg_start_timestep
        return cfg_eps(self.unet, context, empty, guidance_scale, fps, start, text_weights)

    def _encode_start(self, image: StartImage, shape: LatentShape) -> Tensor:
        """Return the latents of a start image, `[1, 4, K, h, w]`."""
        factor = vae_scale_factor(self._require(self.vae, "VAE"))
        size = factor * shape.height, factor * shape.width
        return self.encode_video(start_video(image, shape.num_frames, *size))

    def _encode_negative(self, text: str | Sequence[str] | None, count: int) -> Tensor | None:
        """Encode a negative prompt to `[1 or B, 77, C]`; None for an empty one."""
        texts = [text] if isinstance(text, str) else list(text or ())
        if not any(t.strip() for t in texts):
            return None
        if len(texts) not in (1, count):
            raise InputError(
                f"got {len(texts)} negative prompts for {count} prompts, expected one for all, or "
                "one for each"
            )
        return self.encode_prompt(texts)

    def _on_step(self, callback: StepCallback | None) -> OnStep | None:
        """Return a callback of diffusers as one of the samplers."""
        if callback is None:
            return None

        def on_step(index: int, t: int, latents: Tensor) -> Tensor:
            return (callback(self, index, t, {"latents": latents}) or {}).get("latents", latents)

        return on_step

    def context_windows(
        self,
        num_frames: int,
        length: int | None = None,
        overlap: int | None = None,
        *,
        from_noise: bool = True,
        loop: bool = False,
    ) -> ContextWindows:
        """Return the windows for a video of `num_frames`.

        Args:
            num_frames: up to the longest training clip, the default is a single window.
            length: default for longer videos: 16 frames.
            overlap: default: see `ContextWindows.default`.
            from_noise: False for video to video, whose input replaces the keyframe pass.
            loop: whether windows go on from the last frame to the first.
        """
        if length is None:
            is_long = num_frames > max(self.trained.frames)
            length = WINDOW_FRAMES if is_long else num_frames
        keyframe_pass = from_noise and self.unet.config.frame_phase
        return ContextWindows.default(length, overlap, keyframe_pass=keyframe_pass, loop=loop)

    def _decode_frames(
        self, latents: Tensor, output_type: OutputType, progress: Progress | None
    ) -> Any:
        """Decode to frames; converts a long video part by part, unless the output is floats."""
        if output_type == "latent":
            return latents.float().cpu()
        total = latents.shape[0] * latents.shape[2]
        parts, done = [], 0
        for part in latents.split(DECODED_FRAMES, dim=2):
            report = part_of(progress, done, total)
            parts.append(to_frames(self.decode(part, progress=report), output_type))
            done += part.shape[0] * part.shape[2]
        return join_frames(parts, output_type)

    def _latent_shape(
        self,
        batch: int,
        num_frames: int,
        height: int | None,
        width: int | None,
        latents: Tensor | None = None,
    ) -> LatentShape:
        """Return the shape for these settings; those left out are the latents' or the model's."""
        factor = vae_scale_factor(self._require(self.vae, "VAE"))
        if latents is not None and latents.ndim == 5:
            height = height or factor * latents.shape[3]
            width = width or factor * latents.shape[4]
        height, width = height or self.trained.height, width or self.trained.width
        channels = self.unet.config.in_channels
        shape = LatentShape(batch, channels, num_frames, height // factor, width // factor)
        if latents is not None:
            check_latents(latents, shape)
        return shape

    def _warn_if_untrained(self, num_frames: int) -> None:
        frames = self.trained.frames
        if num_frames not in frames:
            logger.warning(
                "%d frames requested, but the model was trained on %s: motion may suffer",
                num_frames,
                " or ".join(map(str, frames)),
            )
