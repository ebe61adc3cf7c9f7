"""Captions of clips from their frames, by a vision-language model.

A caption for training says what is seen and nothing else: an answer with a camera, a style or a
guess is tried once more, and then refused.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any, Protocol

import numpy as np

from ..errors import HummingbirdError, InputError, first_line
from ..files import import_callable
from .answers import clean_answer
from .backends.address import DEFAULT_URL, check_url
from .backends.api_key import key_for
from .backends.openai import ServerChat
from .chat_enhancer import system_prompt
from .language import is_surely_foreign
from .subject import invented_words
from .text import WORD, word_set

LENGTHS = {"short": "describe_short", "long": "describe_long"}  # and their system prompts
MAX_WORDS = 45  # of a long caption: 75 tokens hold about as many
QUESTION = "Describe what these frames of one clip show."
FRAMES, LONG_SIDE = 4, 512  # of a clip that a model gets, and their pixels
GUESSES = word_set(
    "maybe perhaps possibly probably presumably likely might seems seem seemingly appears "
    "apparently suggests suggesting implies implying"
)


class Captioner(Protocol):
    """Answers questions about frames."""

    def describe(self, frames: np.ndarray, system: str, question: str, seed: int) -> Any:
        """Return the raw answer about frames, uint8 `[K, H, W, 3]`."""
        ...


@dataclass(frozen=True)
class ServerCaptioner:
    """A vision-language model on a server with OpenAI's chat protocol."""

    chat: ServerChat

    def describe(self, frames: np.ndarray, system: str, question: str, seed: int) -> str:
        """Return the raw answer; frames are sent as JPEG inside of the request."""
        return self.chat.answer_about(system, question, [_data_url(f) for f in frames], seed)


@dataclass(frozen=True)
class FunctionCaptioner:
    """A function of the user's: frames uint8 `[K, H, W, 3]` -> caption, or {"short", "long"}."""

    name: str

    def describe(self, frames: np.ndarray, system: str, question: str, seed: int) -> Any:
        """Return the function's answer; it gets the frames alone."""
        return import_callable(self.name, "captioner")(frames)


def open_captioner(source: str, model: str | None, url: str = DEFAULT_URL) -> Captioner:
    """Return the captioner of a source.

    Args:
        source: "local", "server", or `MODULE:FUNCTION`.
        model: a folder or downloaded hub id ("local"), or the name on the server.
        url: of the server.

    Raises:
        HummingbirdError: the source is unknown, or the model cannot be used.
    """
    if ":" in source:
        return FunctionCaptioner(source)
    if source == "server":
        url = check_url(url)
        return ServerCaptioner(ServerChat(url, model, key=key_for(url, trusted=True)))
    if source != "local" or model is None:
        raise InputError(
            f"got captions from {source!r} with model {model!r}, expected local or server and a "
            "model, or MODULE:FUNCTION"
        )
    from .backends.vision import LocalCaptioner

    return LocalCaptioner.load(model)


def describe(captioner: Captioner, frames: np.ndarray, seed: int = 0) -> dict[str, str]:
    """Return a short and a long caption of frames.

    Args:
        captioner: the model.
        frames: uint8 `[K, H, W, 3]`, in order.
        seed: of the wording.

    Raises:
        HummingbirdError: the model gave no usable caption twice, or failed.
    """
    return {length: _caption(captioner, frames, length, seed) for length in LENGTHS}


def _caption(captioner: Captioner, frames: np.ndarray, length: str, seed: int) -> str:
    system = Template(system_prompt(LENGTHS[length])).safe_substitute(words=MAX_WORDS)
    question, wrong = QUESTION, ""
    for _ in range(2):
        text = clean_answer(_text_in(_answer(captioner, frames, system, question, seed), length))
        wrong = complaint(text)
        if not wrong:
            return text.rstrip(" .")
        question = f"{QUESTION}\n\n(Your last answer {wrong}.)"
    raise HummingbirdError(f"the {length} caption {wrong}, twice: choose another model")


def _answer(captioner: Captioner, frames: np.ndarray, system: str, question: str, seed: int) -> Any:
    try:
        return captioner.describe(frames, system, question, seed)
    except (HummingbirdError, MemoryError, OSError):
        raise
    except Exception as error:  # of another author's code
        if "memory" in str(error):
            raise
        raise HummingbirdError(
            f"the captioner failed: {type(error).__name__}: {first_line(error)}"
        ) from error


def _text_in(answer: Any, length: str) -> str:
    text = answer.get(length) if isinstance(answer, Mapping) else answer
    if not isinstance(text, str):
        raise HummingbirdError(
            f"got {type(text).__name__} from the captioner, expected a text, or a dict with the "
            "texts short and long"
        )
    return text


def complaint(text: str) -> str:
    """Return what is wrong with a caption, as the end of a sentence about it; "" if nothing is."""
    words = WORD.findall(text.lower())
    if not words:
        return "held no caption"
    if is_surely_foreign(text):
        return "was not in English"
    if guesses := [word for word in words if word in GUESSES]:
        return f"guessed ({', '.join(guesses)})"
    if invented := invented_words("", text):
        return f"named a camera or a style ({', '.join(invented)})"
    return ""


def frames_for(frames: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return some frames of a clip, evenly apart and small enough for a model."""
    from PIL import Image

    chosen = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int)
    images = [Image.fromarray(frames[index]) for index in chosen]
    for image in images:
        image.thumbnail((LONG_SIDE, LONG_SIDE))
    return np.stack([np.asarray(image) for image in images])


def _data_url(frame: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
