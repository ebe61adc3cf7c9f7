"""Shapes of the U-Nets: one dataclass, and the whole family as data (arXiv 2503.18559, table 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import InputError
from ..inputs.fields import Flag, Kind, ListOf, Number, Optional, Text, Whole, check_fields

INIT_ATTENTION_HEADS = 8  # of the temporal transformer behind the first convolution
# Waves of a frame's position: 1/2, 1, 3/2 and 2 periods over the clip; 1/8, 1/4, 1/2 and 1 Hz.
FRAME_HARMONICS, FRAME_OCTAVES = 4, 4

# How a model was trained, and thus how it is sampled. A pruned model inherits these.
TRAITS = ("dynamic_rescale", "height", "width", "frames", "cfg_start_timestep", "loop_words")
# Fields that the shapes of tensors do not show.
_UNSHAPED = (*TRAITS, "norm_groups", "v_prediction")

MAX_LEVELS = 8
_CHANNELS, _PIXELS = Whole(1, 8192), Whole(8, 16384)
FIELDS: dict[str, Kind] = {  # of configs in files
    "in_channels": _CHANNELS,
    "out_channels": _CHANNELS,
    "model_channels": Whole(2, 8192),
    "channel_mult": ListOf(Whole(1, 64), 1, MAX_LEVELS),
    "num_res_blocks": Whole(1, 8),
    "attention_levels": ListOf(Whole(0, MAX_LEVELS - 1), 0, MAX_LEVELS),
    "head_channels": _CHANNELS,
    "context_dim": Whole(1, 65536),
    "middle_block": Flag(),
    "guidance_embedding": Flag(),
    "norm_groups": _CHANNELS,
    "v_prediction": Flag(),
    "frame_phase": Flag(),
    "frame_seconds": Flag(),
    "dropout": Number(0, 0.99),
    "dynamic_rescale": Flag(),
    "height": _PIXELS,
    "width": _PIXELS,
    "frames": ListOf(Whole(1, 100_000), 1, 100),
    "cfg_start_timestep": Whole(0, 1000),
    "loop_words": Optional(ListOf(Text(100), 0, 1000)),
}


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a U-Net; the defaults are VideoCrafter2's.

    Args:
        in_channels: channels of the latents.
        out_channels: channels of the predicted noise.
        model_channels: channels of the first level.
        channel_mult: channels of each level relative to `model_channels`; each level has half the
            height and width of the level before it.
        num_res_blocks: residual blocks of a level on the way down; the way up has one more.
        attention_levels: levels with a spatial and a temporal transformer after each ResBlock.
        head_channels: channels of one attention head.
        context_dim: channels of the text embedding.
        middle_block: whether there is a block at the lowest resolution (pruned from the 0.7B).
        guidance_embedding: whether `time_cond_proj` takes an embedding of the guidance scale.
        norm_groups: groups of every GroupNorm.
        v_prediction: whether the network predicts the velocity v, which `forward` converts to
            noise (nano presets only). At t = 999 an error in predicted noise is 15 times as large
            in the video: too much for a small network, and v avoids it.
        frame_phase: whether an embedding of each frame's position is added (nano presets only).
        frame_seconds: whether that embedding has waves in seconds, too.
        dropout: probability of dropout in ResBlocks and temporal convolutions, in training only.
        dynamic_rescale: whether the training scaled clean latents by `latent_scale`, which DDIM
            then has to follow (VideoCrafter2's word; see `sampling.schedule`).
        height: pixels of the training videos.
        width: pixels of the training videos.
        frames: lengths of the training clips.
        cfg_start_timestep: lowest timestep with classifier-free guidance (arXiv 2404.07724): below,
            guidance only coarsens what is there already.
        loop_words: words of the motions in the training videos that come back, such as "spins"; a
            prompt without any of them cannot loop. None: any prompt can, as far as is known.
    """

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_levels: tuple[int, ...] = (0, 1, 2)
    head_channels: int = 64
    context_dim: int = 1024
    middle_block: bool = True
    guidance_embedding: bool = False
    norm_groups: int = 32
    v_prediction: bool = False
    frame_phase: bool = False
    frame_seconds: bool = False
    dropout: float = 0.0
    dynamic_rescale: bool = False
    height: int = 320
    width: int = 512
    frames: tuple[int, ...] = (16, 26)
    cfg_start_timestep: int = 0
    loop_words: tuple[str, ...] | None = None

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> UNetConfig:
        """Return the config of a preset, with single fields changed.

        Args:
            name: a key of `PRESETS`.
            **changes: values of single fields.

        Raises:
            InputError: there is no such preset.
        """
        if name not in PRESETS:
            raise InputError(
                f"got U-Net preset {name!r}, expected one of {', '.join(PRESETS)}: choose one"
            )
        return replace(PRESETS[name], **changes)

    @classmethod
    def from_dict(cls, values: Any, where: str = "the U-Net's config") -> UNetConfig:
        """Return the config of a `to_dict`, also after JSON, which turns tuples into lists.

        Args:
            values: the fields; those that are missing have their defaults.
            where: name of the config, for errors.

        Raises:
            InputError: a field is unknown, of a wrong kind or out of range, or there can be no such
                U-Net.
        """
        values = check_fields(values, FIELDS, where)
        # JSON has no tuples.
        tuples: dict[str, Any] = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        config = cls(**{**values, **tuples})
        config.check(where)
        _check_heads(config, where)
        # Files written before the traits were fields lack them.
        return _take_from_preset(config, [name for name in TRAITS if name not in values])

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any]) -> UNetConfig:
        """Infer the config from the shapes of a checkpoint's tensors.

        Shapes do not show the groups of norms and the kind of prediction: these come from the
        preset that fits, or else from VideoCrafter2.

        Args:
            state_dict: weights, or anything else with their shapes; keys without prefix.

        Raises:
            InputError: the keys or shapes are not those of a U-Net.
        """
        shapes = {key: tuple(tensor.shape) for key, tensor in state_dict.items()}
        config = _take_from_preset(_config_from_shapes(shapes), _UNSHAPED)
        where = "the U-Net of the tensors' shapes"
        check_fields(config.to_dict(), FIELDS, where)
        config.check(where)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can hold."""
        return asdict(self)

    def check(self, where: str = "the U-Net's config") -> None:
        """Check that there can be a U-Net of these sizes.

        Args:
            where: name of the config, for errors.

        Raises:
            InputError: levels are named that do not exist, or channels cannot be split.
        """
        levels = range(len(self.channel_mult))
        if not set(self.attention_levels) <= set(levels):
            raise InputError(
                f"{where} has attention_levels {self.attention_levels}, expected levels from 0 to "
                f"{levels[-1]}"
            )
        for mult in (1, *self.channel_mult):
            channels = mult * self.model_channels
            if channels % self.norm_groups or self.model_channels % 2:
                raise InputError(
                    f"{where} has model_channels {self.model_channels}, expected an even number "
                    f"that norm_groups {self.norm_groups} divides"
                )

    @property
    def min_parameters(self) -> int:
        """A lower bound of the number of weights: the second convolution of each ResBlock."""
        widths = [mult * self.model_channels for mult in self.channel_mult]
        # n ResBlocks on the way down and n + 1 on the way up, each with a 3x3 convolution C -> C.
        return 9 * (2 * self.num_res_blocks + 1) * sum(width**2 for width in widths)

    @property
    def embedding_dim(self) -> int:
        """Channels E of the embedding of timestep, frame rate and guidance."""
        # As wide as in latent diffusion's U-Net (arXiv 2112.10752); checkpoints fix it.
        return 4 * self.model_channels

    @property
    def traits(self) -> dict[str, Any]:
        """The fields named in `TRAITS`, for the config of a pruned model."""
        return {name: getattr(self, name) for name in TRAITS}

    @property
    def preset(self) -> str | None:
        """Name of the preset of this shape, or None.

        The guidance input and fields that shapes do not show are not compared.
        """
        ignored = (*_UNSHAPED, "dropout", "guidance_embedding")
        compared = [field.name for field in fields(self) if field.name not in ignored]

        def shape(config: UNetConfig) -> list[Any]:
            return [getattr(config, name) for name in compared]

        return next((name for name, c in PRESETS.items() if shape(c) == shape(self)), None)


# 64x64 videos have 8x8 latents: three levels, and attention at 4x4 only, are fast on a CPU. With 32
# channels and the usual 32 groups, norms would remove the mean of every single channel.
NANO = UNetConfig(
    model_channels=32,
    channel_mult=(1, 2, 2),
    attention_levels=(1,),
    head_channels=8,
    context_dim=96,
    norm_groups=8,
    v_prediction=True,
    frame_phase=True,
    frame_seconds=True,
    height=64,
    width=64,
    cfg_start_timestep=500,
    # The verbs of `nano.world.captions.RETURNING`.
    loop_words=(
        *("bobs", "bobbing", "bounces", "bouncing", "swings", "swinging", "sways", "swaying"),
        *("spins", "spinning", "turns", "rotates", "rotating", "hovers", "hovering", "stays"),
    ),
)
PRESETS = {
    # The teacher (arXiv 2401.09047): two ResBlocks a level, guided by two predictions.
    "videocrafter2": UNetConfig(dynamic_rescale=True),
    # Students: one ResBlock a level, guidance scale as an input (arXiv 2503.18559, table 1).
    "hummingbird-0.9b": UNetConfig(num_res_blocks=1, guidance_embedding=True),
    "hummingbird-0.7b": UNetConfig(num_res_blocks=1, middle_block=False, guidance_embedding=True),
    "nano-teacher": NANO,
    # Two levels: the teacher's level of 2x2 adds nothing (benchmarks/results/nano-blocks.md).
    "hummingbird-nano": replace(
        NANO, channel_mult=(1, 2), num_res_blocks=1, middle_block=False, guidance_embedding=True
    ),
}


def _check_heads(config: UNetConfig, where: str) -> None:
    for level in config.attention_levels:
        channels = config.channel_mult[level] * config.model_channels
        if channels % config.head_channels:
            raise InputError(
                f"{where} has head_channels {config.head_channels}, expected a divisor of the "
                f"{channels} channels of level {level}"
            )


def _take_from_preset(config: UNetConfig, names: Iterable[str]) -> UNetConfig:
    """Return `config` with the fields `names` of the preset of its shape, if there is one."""
    preset = PRESETS.get(config.preset or "", config)
    return replace(config, **{name: getattr(preset, name) for name in names})


def _config_from_shapes(shapes: dict[str, tuple[int, ...]]) -> UNetConfig:
    """Infer all fields that the names and shapes of tensors determine."""
    try:
        # Convolutions are [out_channels, in_channels, 3, 3]; every level but the last downsamples.
        out_channels, width = shapes["out.2.weight"][:2]
        levels = 1 + sum(1 for key in shapes if key.endswith(".op.weight"))
        # Input blocks form `levels` groups of 1 + num_res_blocks: convolution or downsampling,
        # then the ResBlocks.
        blocks = 1 + max(int(k.split(".")[1]) for k in shapes if k.startswith("input_blocks."))
        stride = blocks // levels
        # The first ResBlock of a level has the level's width, and its transformers, if any.
        first = [f"input_blocks.{level * stride + 1}" for level in range(levels)]
        widths = [shapes[f"{block}.0.out_layers.3.weight"][0] for block in first]
        attention = tuple(i for i, block in enumerate(first) if f"{block}.1.norm.weight" in shapes)
        # Keys of the attention to the text: [channels, context_dim].
        cross = f"{first[attention[0]]}.1.transformer_blocks.0.attn2.to_k.weight"
        # init_attn projects to a fixed number of heads; other layers do not show theirs.
        # Cosine and sine of each wave, in the 4 * width channels of the embedding.
        phase = shapes.get("frame_phase.proj.weight", (0,))[0]
        return UNetConfig(
            in_channels=shapes["input_blocks.0.0.weight"][1],
            out_channels=out_channels,
            model_channels=width,
            # Widths relative to the first convolution's.
            channel_mult=tuple(w // width for w in widths),
            # Without the group's first block, a convolution or downsampling.
            num_res_blocks=stride - 1,
            attention_levels=attention,
            head_channels=shapes["init_attn.0.proj_in.weight"][0] // INIT_ATTENTION_HEADS,
            context_dim=shapes[cross][1],
            middle_block="middle_block.0.in_layers.0.weight" in shapes,
            guidance_embedding="time_cond_proj.weight" in shapes,
            frame_phase=phase > 0,
            frame_seconds=phase == 8 * width * (FRAME_HARMONICS + FRAME_OCTAVES),
        )
    except (LookupError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"got {len(shapes)} tensors in which {error} is not found, expected the keys of a "
            "VideoCrafter2 or Hummingbird U-Net: check that the file is one"
        ) from error
