"""Downloads into ComfyUI's model folders, with its progress bar and its interrupt."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import comfy.utils

from ....hummingbird_core.checkpoints import convert_checkpoint
from ....hummingbird_core.errors import DownloadError, InputError, MissingPackageError
from ....hummingbird_core.hub.download import CATALOG, download
from .files import download_folder


def describe_all() -> str:
    """Return one line per catalog entry: size, origin and license."""
    return "\n".join(
        f"{name}: about {entry.size_bytes / 1e9:.1f} GB from {entry.repo_id}; licence: "
        f"{entry.license}."
        for name, entry in CATALOG.items()
    )


def fetch(name: str, accept_licence: bool, convert: bool) -> Path:
    """Download a checkpoint and return the file to load, as released or converted.

    The converted file is written next to the original.

    Raises:
        InputError: the licence was not accepted.
        MissingPackageError: huggingface_hub is not installed.
        DownloadError: offline, refused, broken off, or damaged on the way.
        OutputError: no space, or no permission.
    """
    folder = download_folder()
    converted = folder / f"{name}.safetensors"
    if convert and converted.is_file():
        return converted
    try:
        path = download(name, folder, accept_licence=accept_licence, progress=_Progress())
    except InputError as error:
        raise InputError(f"input accept_licence: {error}") from error
    except DownloadError as error:
        # The core reports everything that stops a transfer as a network error.
        interrupt = error.__cause__
        if isinstance(interrupt, comfy.model_management.InterruptProcessingException):
            raise interrupt from None
        raise
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"downloads need the package {error.name}: pip install {error.name}"
        ) from error
    if convert:
        convert_checkpoint(path, converted, progress=_Progress())
        return converted
    return path


class _Progress:
    """Progress callback that moves ComfyUI's bar, in megabytes, and raises on an interrupt."""

    def __init__(self) -> None:
        self._bar = comfy.utils.ProgressBar(100)

    def __call__(self, done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._bar.update_absolute(done >> 20, max(total >> 20, 1))
