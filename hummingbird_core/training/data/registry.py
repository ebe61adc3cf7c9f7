"""Clip sources by name: files, the built-in model's world, or `MODULE:NAME` from another package.

A new source is one file with a function like `ClipSourceFactory`, named as `--data MODULE:NAME`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...errors import InputError
from ...nano.latents import clamp_to_range, has_image_latents
from ..outside import make_outside, no_options
from .batch import ClipSource
from .clip_order import ClipConfig
from .clip_reading import FrameConfig
from .clip_sources import open_clips
from .latent_cache import MAX_GIGABYTES
from .nano_clips import NANO_WORLD, open_nano_clips

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

# Makes a source from clip settings, frame settings and the teacher's VAE, for one clip length.
ClipSourceFactory = Callable[[ClipConfig, FrameConfig, "AutoencoderKL"], ClipSource]

CLIP_SOURCES: dict[str, ClipSourceFactory] = {NANO_WORLD: open_nano_clips}
_IMPORT_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def open_source(
    source: str | Path,
    vae: AutoencoderKL,
    cache: Path,
    frames: FrameConfig,
    settings: ClipConfig,
    *,
    max_gigabytes: float = MAX_GIGABYTES,
    options: Mapping[str, Any] | None = None,
) -> ClipSource:
    """Open a clip source for clips of one length.

    Args:
        source: a key of `CLIP_SOURCES`, `MODULE:NAME` of a `ClipSourceFactory`, or files with
            captions, see `clip_index.list_clips`.
        vae: encodes frames.
        cache: folder for the latents of files.
        frames: size of the frames.
        settings: how clips are cut from videos.
        max_gigabytes: limit of the latents in `cache`, in 10^9 bytes.
        options: keyword arguments for a source from outside.

    Raises:
        InputError: the source does not exist, cannot be imported, has another option, or holds no
            usable clip.
        OutputError: the cache cannot be written.
    """
    if not is_import_name(source):
        no_options(str(source), "clip source", options or {})
    if str(source) in CLIP_SOURCES:
        return CLIP_SOURCES[str(source)](settings, frames, vae)
    if not is_import_name(source):
        return open_clips(source, vae, cache, frames, settings, max_gigabytes=max_gigabytes)
    made = make_outside(str(source), "clip source", options or {}, settings, frames, vae)
    if not callable(getattr(made, "batch", None)):
        raise InputError(
            f"got {type(made).__name__} from the clip source {source}, expected an object with a "
            "method batch(step, *, size, rank, world_size): see docs/guides/training.md"
        )
    return made


def has_no_files(source: str | Path) -> bool:
    """Return whether `source` is a name, not the path of files."""
    return str(source) in CLIP_SOURCES or is_import_name(source)


def is_import_name(source: str | Path) -> bool:
    """Return whether `source` reads as `MODULE:NAME`, and is no existing file."""
    return bool(_IMPORT_NAME.fullmatch(str(source))) and not Path(source).exists()


def check_latents(source: str | Path, vae: Mapping[str, Any], name: str) -> None:
    """Check that clips drawn as latents suit the VAE of a teacher.

    Args:
        source: of the clips.
        vae: config of the VAE.
        name: of the teacher, for the error.

    Raises:
        InputError: the VAE has other latents.
    """
    if str(source) == NANO_WORLD and not has_image_latents(vae):
        raise InputError(
            f"got data nano for {name}, expected clips of your own: the VAE of this teacher has "
            "other latents than the built-in model's world"
        )


def latent_clamp(vae: Mapping[str, Any]) -> Callable[[Tensor], Tensor] | None:
    """Return the function that clamps scaled latents to the range of images.

    Returns:
        None if the latents of a VAE of this config are no images.
    """
    return clamp_to_range if has_image_latents(vae) else None
