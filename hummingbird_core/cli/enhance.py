"""`hummingbird enhance`: enhance prompts before generation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HummingbirdError, InputError
from ..generation.jobs import VideoConfig, read_prompt_file
from ..inputs.text import read_text
from ..terminal import get_logger, print_line

if TYPE_CHECKING:
    from ..prompts import EnhancedPrompt
    from ..text.tokenizer import Tokenizer

logger = get_logger(__name__)

MAX_SYSTEM_BYTES = 1 << 20

EPILOG = """\
examples:
  with the built-in expander, which needs no model and adds motion, camera, light and style:
    hummingbird enhance "a fox in the snow"
  a file of prompts, with another seed for other wordings:
    hummingbird enhance --prompts prompts.txt --seed 7 > better.txt
  with a chat model from the hub's local cache, or a folder:
    hummingbird enhance "a fox in the snow" --source local --model Qwen/Qwen2.5-1.5B-Instruct
  with a server: Ollama, llama.cpp, vLLM, LM Studio or another with OpenAI's protocol; the prompt
  may be in any language that its model knows:
    hummingbird enhance "ein Fuchs im Schnee" --source server --model llama3.1
    hummingbird enhance "a fox" --source server --url http://localhost:8080/v1

A server's key is read from HUMMINGBIRD_API_KEY and sent to the server of --url only. Answers of
language models are cached in your cache folder, or in HUMMINGBIRD_CACHE, by prompt, model and seed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird enhance`."""
    parser.epilog = EPILOG
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("prompt", nargs="?", help="what to show")
    what.add_argument("--prompts", metavar="FILE", type=Path, help="one prompt per line, or .jsonl")
    parser.add_argument(
        "--source",
        choices=("builtin", "local", "server"),
        default="builtin",
        help="the enhancer",
    )
    parser.add_argument(
        "--model", help="language model: a folder, a hub id or its name on the server"
    )
    parser.add_argument(
        "--system",
        metavar="FILE",
        type=Path,
        help="system prompt for the language model; $words and $vocabulary are filled in",
    )
    parser.add_argument("--url", help="URL of the server (default: local Ollama)")
    parser.add_argument(
        "--for",
        dest="video_model",
        metavar="MODEL",
        help="video model whose tokenizer counts the tokens: nano, a checkpoint or a folder "
        "(default: CLIP's 77-token window, as in all released models)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the wording")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def run(args: argparse.Namespace) -> None:
    """Print one enhanced prompt per line, and warnings about truncation on stderr."""
    from ..prompts import create_enhancer
    from ..prompts.backends.address import DEFAULT_URL

    requests = _requests(args)
    check_requests(requests)
    tokenizer = tokenizer_of(args.video_model)
    url, system = args.url or DEFAULT_URL, _system(args.system)
    with (
        naming_options(args.source),
        create_enhancer(
            args.source, tokenizer, model=args.model, url=url, system=system
        ) as enhancer,
    ):
        for settings, origin in requests:
            result = enhancer.enhance(settings.prompt, settings.seed)
            warn(result, f"{origin}: " if origin else "")
            print_line(_json_line(result) if args.json else result.text)


def _requests(args: argparse.Namespace) -> list[tuple[VideoConfig, str]]:
    if args.prompts is None:
        return [(VideoConfig(args.prompt, seed=args.seed), "")]
    return read_prompt_file(args.prompts, VideoConfig("", seed=args.seed))


def _system(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = read_text(path, MAX_SYSTEM_BYTES).strip()
    except InputError as error:
        raise InputError(f"got no system prompt: {error}; check --system") from error
    if not text:
        raise InputError(f"got an empty system prompt {path}, expected instructions: fill it in")
    return text


def check_requests(requests: Iterable[tuple[VideoConfig, str]]) -> None:
    """Raise InputError, with its origin, for the first prompt that no enhancer accepts."""
    from ..prompts.enhancer import check_request

    for settings, origin in requests:
        try:
            check_request(settings.prompt, settings.seed)
        except InputError as error:
            raise InputError(f"{origin}: {error}" if origin else str(error)) from error


@contextmanager
def naming_options(source: str, prefix: str = "--") -> Iterator[None]:
    """Append the relevant options to the error messages of a language model."""
    names = {"local": ("model",), "server": ("model", "url")}.get(source, ())
    try:
        yield
    except HummingbirdError as error:
        if not names:
            raise
        options = ", ".join(f"{prefix}{name}" for name in names)
        raise type(error)(f"{error} ({options})") from error


def tokenizer_of(model: str | None) -> Tokenizer:
    """Return the tokenizer of a video model without loading its weights; None is CLIP's."""
    from ..text.tokenizer import ClipTokenizer, WordTokenizer

    if not model:
        return ClipTokenizer()
    from ..checkpoints.info import checkpoint_info  # these need torch
    from ..checkpoints.layout import TOKENIZER_KEY
    from ..hub.local import resolve_model

    words = checkpoint_info(resolve_model(model))["metadata"].get(TOKENIZER_KEY)
    return WordTokenizer.from_json(words) if words else ClipTokenizer()


def warn(result: EnhancedPrompt, origin: str) -> None:
    """Log what was cut off and the result's notes, each prefixed with `origin`."""
    if result.cut_off:
        logger.warning(
            "%s%d tokens fit the text window; cut off: %s", origin, result.room, result.cut_off
        )
    for note in result.notes:
        logger.warning("%s%s", origin, note)


def _json_line(result: EnhancedPrompt) -> str:
    values = asdict(result)
    return json.dumps({"prompt": values.pop("text"), **values})
