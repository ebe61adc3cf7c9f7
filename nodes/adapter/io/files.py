"""Files in ComfyUI's model folders, by the names that its other loaders show."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.hub.local import BUILT_IN_MODELS, resolve_model

CHECKPOINT_FOLDERS = ("checkpoints", "diffusion_models")
DOVER_FOLDER = "vqa"
NO_DOVER = "none"
BUILT_IN_LABELS = {f"{name} (built in)": name for name in BUILT_IN_MODELS}


# ComfyUI has no folder for quality models.
folder_paths.add_model_folder_path(DOVER_FOLDER, str(Path(folder_paths.models_dir, DOVER_FOLDER)))


def checkpoint_names() -> list[str]:
    """Return the labels of the built-in models, then every file that may be a checkpoint."""
    return [*BUILT_IN_LABELS, *checkpoint_files()]


def checkpoint_files() -> list[str]:
    """Return every file that may be a checkpoint."""
    return _names(CHECKPOINT_FOLDERS)


def checkpoint_path(name: str) -> Path:
    """Return the path of a checkpoint. Raises InputError if it is gone."""
    if name in BUILT_IN_LABELS:
        return resolve_model(BUILT_IN_LABELS[name])
    return _path(name, CHECKPOINT_FOLDERS, "checkpoint")


def lora_names() -> list[str]:
    """Return every file in the LoRA folders."""
    return _names(("loras",))


def lora_path(name: str) -> Path:
    """Return the path of a LoRA. Raises InputError if it is gone."""
    return _path(name, ("loras",), "lora")


def dover_names() -> list[str]:
    """Return `NO_DOVER`, then every file in models/vqa."""
    return [NO_DOVER, *_names((DOVER_FOLDER,))]


def dover_path(name: str) -> Path:
    """Return the path of DOVER's weights. Raises InputError if it is gone."""
    return _path(name, (DOVER_FOLDER,), "dover")


def download_folder() -> Path:
    """Return the folder for downloaded checkpoints: the first of ComfyUI's own."""
    return Path(folder_paths.get_folder_paths("checkpoints")[0])


def _names(folders: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(n for f in folders for n in folder_paths.get_filename_list(f)))


def _path(name: str, folders: tuple[str, ...], input_name: str) -> Path:
    for folder in folders:
        path = folder_paths.get_full_path(folder, name)
        if path is not None:
            return Path(path)
    raise InputError(
        f"input {input_name}: got {name!r}, which is in none of the folders for "
        f"{' and '.join(folders)}: choose another, or refresh the page"
    )
