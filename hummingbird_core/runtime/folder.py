"""The folder of an exported model: its files, its settings, and their check.

unet.onnx  decoder.onnx  text.onnx    or .xml with .bin, for OpenVINO
tokenizer.json                        words, or the kind of a tokenizer of this package
settings.json                         `ExportSettings`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, HummingbirdError, InputError, first_line
from ..files import sha256_of_file
from ..inputs.fields import Flag, Kind, ListOf, Optional, Whole, check_fields
from ..inputs.json_text import read_json
from ..inputs.steps import TRAIN_TIMESTEPS
from ..settings import MAX_FRAMES, MAX_SIDE, SIZE_MULTIPLE
from ..text.tokenizer import ClipTokenizer, Tokenizer, WordTokenizer

FORMAT = 1  # raised whenever an older runner could not read, or would misread, a folder
SETTINGS_FILE, TOKENIZER_FILE = "settings.json", "tokenizer.json"
MODELS = ("text", "unet", "decoder")
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}  # of a model's main file, by runtime


@dataclass(frozen=True)
class _Object:
    """Objects of JSON; `of_objects`: whose values are objects, too."""

    of_objects: bool = False
    expected: str = "an object"

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        return not self.of_objects or all(isinstance(inner, dict) for inner in value.values())


@dataclass(frozen=True)
class _OneOf:
    """Texts of a list."""

    texts: tuple[str, ...]

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.texts)}"

    def accepts(self, value: Any) -> bool:
        return value in self.texts


FIELDS: dict[str, Kind] = {
    "runtime": _OneOf(tuple(SUFFIXES)),
    "dtype": _OneOf(("fp32", "fp16", "fp16-weights", "int8")),
    "model": _Object(),
    **dict.fromkeys(("height", "width"), Whole(SIZE_MULTIPLE, MAX_SIDE)),
    "num_frames": Whole(1, MAX_FRAMES),
    "latent_shape": ListOf(Whole(1, MAX_FRAMES), 5, 5),
    "decode_chunk_size": Whole(1, MAX_FRAMES),
    "guidance_dim": Optional(Whole(4, 2**16)),
    "dynamic_rescale": Flag(),
    "cfg_start_timestep": Whole(0, TRAIN_TIMESTEPS),
    "differences": _Object(),
    "files": _Object(of_objects=True),
}


@dataclass(frozen=True)
class ExportSettings:
    """Everything about an exported model but its weights; `settings.json` holds these fields.

    Attributes:
        runtime: "onnx" or "openvino": what the files are for.
        dtype: "fp32", "fp16", "fp16-weights" or "int8".
        model: where it comes from, for the records of videos.
        height, width: pixels of the frames that it makes.
        num_frames: frames of the videos that it makes.
        latent_shape: `[1, C, T, h, w]`.
        decode_chunk_size: frames that the decoder takes at a time.
        guidance_dim: width of the embedded guidance scale; None: a teacher, guided by a second
            prediction.
        dynamic_rescale, cfg_start_timestep: traits of a teacher, see `unet.config`.
        differences: relative distance of each exported model from PyTorch's fp32.
        files: size in bytes and SHA-256 of every other file, by name.
    """

    runtime: str
    dtype: str
    model: dict[str, Any]
    height: int
    width: int
    num_frames: int
    latent_shape: tuple[int, ...]
    decode_chunk_size: int
    guidance_dim: int | None
    dynamic_rescale: bool
    cfg_start_timestep: int
    differences: dict[str, float]
    files: dict[str, dict[str, Any]]

    def to_json(self) -> str:
        """Return the text of `settings.json`."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"


def model_file(folder: Path, name: str, runtime: str) -> Path:
    """Return the main file of a model, one of MODELS."""
    return folder / f"{name}{SUFFIXES[runtime]}"


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of every file in a folder, by name."""
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
        for path in sorted(folder.iterdir())
    }


def read_settings(folder: Path) -> ExportSettings:
    """Read and check the settings of an exported model, and the sizes of its files.

    Raises:
        CheckpointError: the folder is no exported model, is of another version, or lacks something.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise CheckpointError(
            f"got {folder} without {SETTINGS_FILE}, expected the folder of an exported model: make "
            "one with `hummingbird export MODEL -o FOLDER --to onnx`"
        )
    values = _read(path)
    version = values.pop("format", None)
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has format {version!r}, expected {FORMAT}: export the model again with this "
            "version of hummingbird"
        )
    if missing := FIELDS.keys() - values.keys():
        raise _damaged(path, f"it lacks {', '.join(sorted(missing))}")
    try:
        check_fields(values, FIELDS, "it")
    except InputError as error:
        raise _damaged(path, str(error)) from error
    settings = ExportSettings(**{**values, "latent_shape": tuple(values["latent_shape"])})
    _check_files(folder, settings.files)
    return settings


def _check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name, facts in files.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != facts.get("bytes"):
            got = "no file" if size is None else f"{size:,} bytes"
            raise CheckpointError(
                f"got {got} at {path}, expected {facts.get('bytes')}: the export is incomplete, "
                "copy it again, or export the model again"
            )


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of an exported model.

    Raises:
        CheckpointError: its file is damaged.
        MissingPackageError: the packages of CLIP's tokenizer are not installed.
    """
    path = folder / TOKENIZER_FILE
    values = _read(path)
    if values.get("kind") == "clip":
        return ClipTokenizer()
    if values.get("kind") != "words":
        raise _damaged(path, f"the kind {values.get('kind')!r} is unknown")
    del values["kind"]
    return WordTokenizer.from_json(json.dumps(values))


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """Return the text of `tokenizer.json`.

    Raises:
        CheckpointError: the tokenizer is of no kind that the runner has.
    """
    if isinstance(tokenizer, WordTokenizer):
        return json.dumps({"kind": "words", **json.loads(tokenizer.to_json())}, indent=1) + "\n"
    if isinstance(tokenizer, ClipTokenizer):
        return json.dumps({"kind": "clip"}) + "\n"
    raise CheckpointError(
        f"got a {type(tokenizer).__name__}, expected CLIP's tokenizer or a list of words: only "
        "these can be exported"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path)
    except HummingbirdError as error:
        raise _damaged(path, first_line(error)) from error
    if not isinstance(values, dict):
        raise _damaged(path, "it is no object")
    return values


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged ({reason}): export the model again")
