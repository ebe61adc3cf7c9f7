"""Jobs of `hummingbird generate`: settings, file names, and checks of existing files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import HummingbirdError, InputError, OutputError
from ..files import check_name, slug
from ..inputs.json_text import parse_json
from ..inputs.names import kind_of
from ..inputs.text import describe, numbered_lines, read_text
from ..video.files import written_path
from ..video.metadata import read_metadata

if TYPE_CHECKING:
    import numpy as np

    from ..settings import Loop
    from .best_of import BestOf

PROMPT_SUFFIXES = (".txt", ".jsonl", "")
# How an array or object of JSON begins, unlike the brackets in which some write emphasis.
_JSON_START = re.compile(r"""[\[{][\[{\s]*(["']|$)""")
MAX_NUMBER = 2**64  # of a seed
SIZE = ("width", "height")
FLOATS = ("guidance_scale", "fps")  # all other settings but `loop` are integers


@dataclass(frozen=True)
class VideoConfig:
    """Arguments of one pipeline call; the pipeline checks their ranges.

    Args:
        prompt: what to show.
        width: pixels; None is the model's default.
        height: pixels; None is the model's default.
        num_frames: frames in the video.
        num_inference_steps: model calls.
        guidance_scale: prompt strength.
        fps: frames per second, a condition of the model and the playback rate.
        seed: seed of the noise.
        context_length: frames per window of a long video; None is the trained length.
        context_overlap: minimum overlap of two windows in frames; None is the default.
        loop: whether the first frame follows the last one; "swing": a motion there and back.
    """

    prompt: str
    width: int | None = None
    height: int | None = None
    num_frames: int = 16
    num_inference_steps: int = 4
    guidance_scale: float = 7.5
    fps: float = 8
    seed: int = 0
    context_length: int | None = None
    context_overlap: int | None = None
    loop: Loop = False


@dataclass(frozen=True)
class Job:
    """One video to generate.

    Args:
        settings: arguments of the pipeline.
        record: everything that determines the result, as stored in the video's metadata.
        videos: the video files; the first is the main one, whose metadata identifies the job.
        contact_sheet: file of the contact sheet, or None.
        json: file of the settings, or None.
        origin: source of the settings, for error messages ("" for the command line).
        start_image: first frames of the video, uint8 `[K, H, W, 3]`, or None.
        best_of: how the best of several seeds is chosen; None takes the seed of the settings.
    """

    settings: VideoConfig
    record: dict[str, Any]
    videos: tuple[Path, ...]
    contact_sheet: Path | None = None
    json: Path | None = None
    origin: str = ""
    start_image: np.ndarray | None = None
    best_of: BestOf | None = None

    @property
    def outputs(self) -> list[Path]:
        """Every file that this job writes (for PNG frames, the folder), the main video first."""
        others = [path for path in (self.contact_sheet, self.json) if path]
        return [written_path(video) for video in self.videos] + others

    def absolute(self) -> Job:
        """Return the job with absolute paths, for a process with another working directory."""
        return replace(
            self,
            videos=tuple(path.absolute() for path in self.videos),
            contact_sheet=self.contact_sheet and self.contact_sheet.absolute(),
            json=self.json and self.json.absolute(),
        )

    def check_settings(self) -> None:
        """Raise InputError, with the origin, if no model supports a setting."""
        check_config(self.settings, self.origin)

    def is_done(self) -> bool:
        """Return whether all files exist and the main video has the same settings."""
        return all(path.exists() for path in self.outputs) and self._made_by_this()

    def check_outputs(self, overwrite: bool) -> None:
        """Raise OutputError if a file exists with other settings, or cannot be written."""
        for path in self.outputs:
            check_name(path)
        taken = [path for path in self.outputs if path.exists()]
        if taken and not overwrite and not self._made_by_this():
            raise OutputError(
                f"{taken[0]} exists and was made with other settings: "
                "choose another output, or add --overwrite to replace it"
            )
        _check_folder(self.outputs[0].parent)

    def _made_by_this(self) -> bool:
        try:
            found = read_metadata(self.outputs[0])
        except (HummingbirdError, OSError):
            return False
        # A default size is not compared: the file holds the size that the model chose.
        wanted = [key for key in self.record if key not in SIZE or self.record[key] is not None]
        return all(found.get(key) == self.record[key] for key in wanted)


def check_config(settings: VideoConfig, origin: str) -> None:
    """Raise InputError, prefixed with the origin, if no model supports the settings."""
    from ..settings import check_settings

    values = vars(settings).copy()
    try:
        check_settings([values.pop("prompt")], **values)
    except InputError as error:
        raise InputError(f"{origin}: {error}" if origin else str(error)) from error


def read_prompt_file(path: Path, defaults: VideoConfig) -> list[tuple[VideoConfig, str]]:
    """Return the settings of each line of a prompt file with their origin ("prompts.txt line 3").

    A text file has one prompt per line. In a `.jsonl` file each line is an object with "prompt"
    and any other fields of VideoConfig; missing fields come from `defaults`. Blank lines are
    skipped. A pipe may hold either.

    Raises:
        InputError: the file is unreadable, empty or of another format, or a line, which is named,
            is invalid.
    """
    suffix = path.suffix.lower()
    if kind_of(path) == "file" and suffix not in PROMPT_SUFFIXES:
        raise InputError(
            f"got the prompt file {path.name}, expected .txt, one prompt per line, or .jsonl, one "
            "JSON object per line: convert it"
        )
    try:
        numbered = [*numbered_lines(read_text(path))]
    except InputError as error:
        raise InputError(f"{error}; --prompts needs a text file, one prompt per line") from error
    if not numbered:
        raise InputError(f"the prompt file {path} is empty: write one prompt a line")
    parse = _parser_of(suffix, numbered[0][1], path.name)
    origins = ((line, f"{path.name} line {number}") for number, line in numbered)
    return [(parse(line, defaults, origin), origin) for line, origin in origins]


def _parser_of(
    suffix: str, first: str, name: str
) -> Callable[[str, VideoConfig, str], VideoConfig]:
    """Return the parser of a line, by the suffix of the file or, without one, by its first line."""
    is_json = _JSON_START.match(first)
    if suffix == ".jsonl" or (is_json and first.startswith("{") and not suffix):
        return _parse_object
    if is_json:
        raise InputError(
            f"{name} begins like JSON, expected one prompt per line: write one object per line, "
            "and name the file .jsonl"
        )
    return _parse_prompt


def file_name(index: int, prompt: str) -> str:
    """Return a file name without suffix for video `index`, safe on every file system."""
    return f"{index:04d}-{slug(prompt)}"


def _parse_prompt(line: str, defaults: VideoConfig, origin: str) -> VideoConfig:
    return replace(defaults, prompt=line)


def _parse_object(line: str, defaults: VideoConfig, origin: str) -> VideoConfig:
    try:
        given = parse_json(line, origin)
    except InputError as error:
        raise InputError(f'{error}, as in {{"prompt": "..."}}') from error
    if not isinstance(given, dict) or not isinstance(given.get("prompt"), str):
        raise InputError(f'{origin} has no "prompt" text: write {{"prompt": "..."}}')
    known = [field.name for field in fields(VideoConfig) if field.name != "prompt"]
    for name, value in given.items():
        if name != "prompt" and name not in known:
            raise InputError(
                f"{origin} has an unknown setting {name!r}, expected one of {', '.join(known)}"
            )
        if name not in ("prompt", "loop"):  # `check_config` checks the loop
            _check_number(name, value, origin)
    return replace(defaults, **given)


def _check_number(name: str, value: Any, origin: str) -> None:
    kinds, text = ((int, float), "a number") if name in FLOATS else ((int,), "a whole number")
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise InputError(f"{origin}: {name} is {describe(value)}, expected {text}")
    if not -MAX_NUMBER <= value <= MAX_NUMBER:  # refuses NaN too
        raise InputError(f"{origin}: {name} is {describe(value)}, expected a smaller number")


def config_record(settings: VideoConfig, **more: Any) -> dict[str, Any]:
    """Return the record of a video: its settings and everything else that determines the result."""
    record = {**asdict(settings), **more}
    if not settings.loop:  # videos made before there were loops have no such entry
        del record["loop"]
    return record


def _check_folder(folder: Path) -> None:
    """Raise OutputError before the computation if the result could not be written after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write to the folder {folder}: {error.strerror}; choose another output"
        ) from error
