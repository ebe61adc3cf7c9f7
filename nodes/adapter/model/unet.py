"""The U-Net as ComfyUI's MODEL, which brings offloading, casting, fp8 storage and LoRA.

FluxGuidance and LTXVConditioning of ComfyUI set the guidance scale and the frame rate; both are
read from the conditioning here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models_base
import comfy.utils
import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers
from torch import Tensor

from ....hummingbird_core.checkpoints.layout import ComponentConfigs
from ....hummingbird_core.errors import InputError
from ....hummingbird_core.sampling import TRAIN_TIMESTEPS, guidance_scale_embedding
from ....hummingbird_core.sampling.schedule import BETA_END, BETA_START
from ....hummingbird_core.unet import HummingbirdUNet
from ....hummingbird_core.unet.model import UNetConfig
from ....hummingbird_core.weights.tensor_files import text_tensor
from ..ui.preview import add_moving_preview
from .guard import LAYOUT_KEY, add_guard
from .patches import PatchHooks, check_patches
from .saving import clip_of, kept_metadata, metadata_tensors, text_weights
from .schedule import trained_sampling
from .timeline import PROMPT_KEY, call_inputs, texts_of

DEFAULT_GUIDANCE = 7.5
DEFAULT_FPS = 8.0
# Factor in ComfyUI's estimate of working memory; 1 means 10 KiB per byte of latent pixels. Tensors
# alone take 0.0036 at 16 frames of 320x512 (tests/comfy); the rest is workspace of kernels.
MEMORY_PER_CHANNEL = 0.005


class NativeUNet(HummingbirdUNet):
    """The U-Net with ComfyUI's call signature and unchanged state-dict keys."""

    def __init__(
        self,
        config: UNetConfig,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        operations: Any = comfy.ops.disable_weight_init,
        **_: Any,  # of ComfyUI's `unet_config`, for nodes that read it; `config` holds all
    ):
        super().__init__(config, operations=operations, dtype=dtype, device=device)
        self.dtype = dtype
        self.layout = text_tensor(json.dumps(config.to_dict()))  # see `guard.check_merge`

    def to(
        self, *args: Any, memory_format: torch.memory_format | None = None, **kwargs: Any
    ) -> NativeUNet:
        """Move or cast the weights; a memory format of images is for those of 2-D convolutions."""
        super().to(*args, **kwargs)
        for weight in self.parameters() if memory_format is not None else ():
            if weight.ndim == 4:  # --force-channels-last; PyTorch refuses it for Conv3d
                weight.data = weight.data.contiguous(memory_format=memory_format)
        return self

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        fps: Tensor,
        guidance: Tensor | None = None,
        text_weights: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **others: Any,
    ) -> Tensor:
        """Predict the noise in `x`, inside of the wrappers that nodes put around a U-Net.

        Args:
            x: noisy latents `[B, 4, T, H, W]`.
            timesteps: `[B]`.
            context: text embedding `[B, L, context_dim]`; of K texts over time
                `[B, K*L, context_dim]`.
            fps: frames per second `[B]`.
            guidance: embedding of the guidance scale `[B, 256]`.
            text_weights: of the texts in each frame of the video, `[B, T, 2, K]`.
            control: of a ControlNet; must be None.
            transformer_options: wrappers, and patches of attention and blocks.
            **others: inputs that only other U-Nets have.

        Returns:
            The predicted noise, `[B, 4, T, H, W]`.
        """
        options = {} if transformer_options is None else transformer_options
        wrappers = get_all_wrappers(WrappersMP.DIFFUSION_MODEL, options)
        executor = WrapperExecutor.new_class_executor(self._predict, self, wrappers)
        # The order of ComfyUI's own U-Net, which wrappers rely on.
        named = {"fps": fps, "guidance": guidance, "text_weights": text_weights}
        return executor.execute(x, timesteps, context, None, control, options, **named)

    def _predict(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: None,
        control: Any,
        transformer_options: dict[str, Any],
        *,
        fps: Tensor,
        guidance: Tensor | None,
        text_weights: Tensor | None,
    ) -> Tensor:
        """Predict the noise with the patches of `transformer_options`."""
        if control is not None:
            raise InputError(
                "got a ControlNet, expected none: this U-Net has no input for one, remove Apply "
                "ControlNet from the conditioning"
            )
        check_patches(transformer_options, self)
        call = {"x": x, "context": context, "y": y, "timesteps": timesteps}
        hooks = PatchHooks(transformer_options, call)
        inputs = call_inputs(transformer_options, x.shape[2], text_weights)
        if text_weights is not None:  # [B, K*L, C] -> [B, K, L, C]
            context = context.unflatten(1, (text_weights.shape[-1], -1))
        return super().forward(x, timesteps, context, fps, guidance, hooks=hooks, **inputs)


class HummingbirdModel(comfy.model_base.BaseModel):
    """ComfyUI's wrapper of the U-Net, which a ModelPatcher holds."""

    def __init__(self, model_config: HummingbirdModelConfig, device: torch.device | None = None):
        super().__init__(
            model_config, comfy.model_base.ModelType.EPS, device=device, unet_model=NativeUNet
        )
        self.model_sampling = trained_sampling(model_config)
        self.metadata: dict[str, str] = {}  # of the file, for files that ComfyUI saves

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """Return text, frame rate and guidance as arguments of `NativeUNet.forward`."""
        conds = super().extra_conds(**kwargs)
        rate = float(kwargs.get("frame_rate", DEFAULT_FPS))
        conds["fps"] = comfy.conds.CONDRegular(torch.tensor([rate]))
        if encoded := kwargs.get(PROMPT_KEY):
            weights = encoded.text_weights(kwargs["noise"].shape[2], rate)
            if weights is not None:
                texts = texts_of(kwargs["cross_attn"], encoded)
                conds["c_crossattn"] = comfy.conds.CONDRegular(texts)
                conds["text_weights"] = comfy.conds.CONDRegular(weights)
        if self.diffusion_model.config.guidance_embedding:
            w = torch.tensor([float(kwargs.get("guidance", DEFAULT_GUIDANCE))])
            conds["guidance"] = comfy.conds.CONDRegular(guidance_scale_embedding(w))
        return conds

    def _save_to_state_dict(
        self, destination: dict[str, Tensor], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        # Among the weights, so that a merge takes it along.
        destination[prefix + LAYOUT_KEY] = self.diffusion_model.layout

    def state_dict_for_saving(
        self, *parts: dict[str, Tensor] | None, **named_parts: dict[str, Tensor] | None
    ) -> dict[str, Tensor]:
        """Return a checkpoint that Load Hummingbird and the command line load again.

        Args:
            *parts: state dicts to save; recent releases put the U-Net's before those of CLIP and
                VAE.
            **named_parts: likewise.
        """
        saved = super().state_dict_for_saving(*parts, **named_parts)
        given = (part for part in (*parts, *named_parts.values()) if part is not None)
        return {**saved, **metadata_tensors(self.metadata, clip_of(given))}

    def resize_cond_for_context_window(
        self, cond_key: str, cond_value: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Return the condition unchanged: all of ours hold for the whole clip."""
        return cond_value


class VideoLatents(comfy.latent_formats.SD15):
    """Latent format of Stable Diffusion with a frame axis."""

    latent_dimensions = 3

    def __init__(self, scale_factor: float = 0.18215):
        super().__init__(scale_factor)
        # ComfyUI previews with the linear map, and says so with this name: TAESD's previewer
        # cannot take a frame axis.
        self.taesd_decoder_name = "(a decoder for videos: none exists, latent2rgb is used)"


class HummingbirdModelConfig(comfy.supported_models_base.BASE):
    """ComfyUI's description of the model; its `unet_config` holds a `UNetConfig` as "config"."""

    unet_extra_config: dict[str, Any] = {}  # noqa: RUF012
    latent_format = VideoLatents
    sampling_settings = {  # noqa: RUF012
        "beta_schedule": "linear",
        "linear_start": BETA_START,
        "linear_end": BETA_END,
        "timesteps": TRAIN_TIMESTEPS,
    }

    def __init__(self, unet_config: dict[str, Any]):
        channels = unet_config["config"].model_channels
        super().__init__({**unet_config, "model_channels": channels})  # FreeU reads it
        self.memory_usage_factor = MEMORY_PER_CHANNEL * channels

    def process_clip_state_dict_for_saving(
        self, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the weights of one of our CLIPs by their names in a checkpoint."""
        return text_weights(state_dict)

    def get_model(
        self, state_dict: dict[str, Tensor], prefix: str = "", device: torch.device | None = None
    ) -> HummingbirdModel:
        """Build the model without weights."""
        return HummingbirdModel(self, device=device)


def build_model(
    config: UNetConfig,
    weights: dict[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
    latent_format: VideoLatents | None = None,
    metadata: Mapping[str, str] | None = None,
    disable_dynamic: bool = False,
) -> comfy.model_patcher.ModelPatcher:
    """Build a MODEL as ComfyUI's own loader does, without guessing the architecture.

    Args:
        config: of the U-Net.
        weights: of the U-Net, keys without prefix.
        dtype: storage dtype (float8 is possible); None: ComfyUI chooses it for this device.
        latent_format: of the VAE the U-Net was trained with; None: Stable Diffusion's.
        metadata: of the file, which files saved from this MODEL keep, see `saving.kept_metadata`.
        disable_dynamic: don't use recent releases' patchers that page weights in from disk.
    """
    management = comfy.model_management
    load_device, offload_device = management.get_torch_device(), management.unet_offload_device()
    model_config = HummingbirdModelConfig({"config": config})
    model_config.latent_format = latent_format or VideoLatents()
    supported = model_config.supported_inference_dtypes
    dtype = dtype or management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(weights),
        supported_dtypes=supported,
        weight_dtype=comfy.utils.weight_dtype(weights),
    )
    manual_cast = management.unet_manual_cast(dtype, load_device, supported)
    model_config.set_inference_dtype(dtype, manual_cast)
    model = model_config.get_model(weights)
    patcher = patcher_class(disable_dynamic)(
        model, load_device=load_device, offload_device=offload_device
    )
    if not management.is_device_cpu(offload_device):
        model.to(offload_device)
    # Older releases have neither dynamic patchers nor the argument.
    dynamic = hasattr(patcher, "is_dynamic") and patcher.is_dynamic()
    model.load_model_weights(weights, **({"assign": True} if dynamic else {}))
    model.metadata = dict(metadata or kept_metadata(ComponentConfigs(config, {}, {}), {}))
    add_moving_preview(patcher)
    add_guard(patcher)
    return patcher


def patcher_class(disable_dynamic: bool) -> type[comfy.model_patcher.ModelPatcher]:
    """Return the patcher class that this release uses for its own models."""
    plain = comfy.model_patcher.ModelPatcher
    return plain if disable_dynamic else getattr(comfy.model_patcher, "CoreModelPatcher", plain)


def hummingbird_unet(model: comfy.model_patcher.ModelPatcher) -> NativeUNet:
    """Return the U-Net of a MODEL.

    Raises:
        InputError: the MODEL is not one of ours.
    """
    inner = getattr(model, "model", None)
    unet = getattr(inner, "diffusion_model", None)
    if not isinstance(unet, HummingbirdUNet):
        raise InputError(
            f"input model: got a {type(inner).__name__}, expected a Hummingbird model: "
            "connect Load Hummingbird (other loaders mistake such a file for Stable Diffusion 2)"
        )
    return unet
