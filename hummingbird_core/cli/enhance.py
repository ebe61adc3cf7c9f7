"""`hummingbird enhance`: make prompts better before a video is made from them."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HummingbirdError, InputError
from ..generation.jobs import VideoConfig, read_prompt_file

if TYPE_CHECKING:
    from ..prompts import EnhancedPrompt
    from ..text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

EPILOG = """\
examples:
  the built-in expander, which needs no model and adds motion, camera, light and style:
    hummingbird enhance "a fox in the snow"
  other wordings, for a file of prompts:
    hummingbird enhance --prompts prompts.txt --seed 7 > better.txt
  a chat model of the hub's local cache, or in a folder:
    hummingbird enhance "a fox in the snow" --source local --model Qwen/Qwen2.5-1.5B-Instruct
  a server: Ollama, llama.cpp, vLLM, LM Studio or another that speaks OpenAI's protocol; the
  prompt may be in any language that its model knows:
    hummingbird enhance "ein Fuchs im Schnee" --source server --model llama3.1
    hummingbird enhance "a fox" --source server --url http://localhost:8080/v1

A server's key is read from HUMMINGBIRD_API_KEY. Answers of language models are kept in your cache
folder, or in HUMMINGBIRD_CACHE: the same prompt, model and seed give the same answer at once.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird enhance`."""
    parser.epilog = EPILOG
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("prompt", nargs="?", help="what the video should show")
    what.add_argument("--prompts", metavar="FILE", type=Path, help="one prompt a line, or .jsonl")
    parser.add_argument(
        "--source",
        choices=("builtin", "local", "server"),
        default="builtin",
        help="what rewrites the prompt (default: builtin)",
    )
    parser.add_argument("--model", help="the language model: a folder, a hub id or a server's name")
    parser.add_argument(
        "--system",
        metavar="FILE",
        type=Path,
        help="your own system prompt for it; $words and $vocabulary are filled in",
    )
    parser.add_argument("--url", help="of the server (default: that of Ollama on this computer)")
    parser.add_argument(
        "--for",
        dest="video_model",
        metavar="MODEL",
        help="the video model: nano, a checkpoint or a folder; its tokenizer counts the tokens "
        "(default: CLIP's 77-token window, as all released models have)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, another wording")
    parser.add_argument("--json", action="store_true", help="for programs: one object a line")


def run(args: argparse.Namespace) -> None:
    """Print one enhanced prompt a line; what was cut off is said on stderr."""
    from ..prompts import create_enhancer
    from ..prompts.backends.openai import DEFAULT_URL

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
            print(_json_line(result) if args.json else result.text, flush=True)


def _requests(args: argparse.Namespace) -> list[tuple[VideoConfig, str]]:
    if args.prompts is None:
        return [(VideoConfig(args.prompt, seed=args.seed), "")]
    return read_prompt_file(args.prompts, VideoConfig("", seed=args.seed))


def _system(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the system prompt {path}: {error}; check --system"
        ) from error
    if not text:
        raise InputError(f"got an empty system prompt {path}, expected instructions: fill it in")
    return text


def check_requests(requests: Iterable[tuple[VideoConfig, str]]) -> None:
    """Raise InputError, with its origin, for the first prompt that no source can use."""
    from ..prompts.enhancer import check_request

    for settings, origin in requests:
        try:
            check_request(settings.prompt, settings.seed)
        except InputError as error:
            raise InputError(f"{origin}: {error}" if origin else str(error)) from error


@contextmanager
def naming_options(source: str, prefix: str = "--") -> Iterator[None]:
    """Puts the options that errors of a language model are about behind their messages."""
    names = {"local": ("model",), "server": ("model", "url")}.get(source, ())
    try:
        yield
    except HummingbirdError as error:
        if not names:
            raise
        options = ", ".join(f"{prefix}{name}" for name in names)
        raise type(error)(f"{error} ({options})") from error


def tokenizer_of(model: str | None) -> Tokenizer:
    """The tokenizer that a video model reads prompts with, without loading its weights."""
    from ..checkpoints.load import TOKENIZER_KEY, checkpoint_info
    from ..hub.local import resolve_model
    from ..text.tokenizer import ClipTokenizer, WordTokenizer

    words = checkpoint_info(resolve_model(model))["metadata"].get(TOKENIZER_KEY) if model else None
    return WordTokenizer.from_json(words) if words else ClipTokenizer()


def warn(result: EnhancedPrompt, origin: str) -> None:
    """Says what was cut off, and what else the user should know; `origin` goes before it."""
    if result.cut_off:
        logger.warning(
            "%s%d tokens fit the text window; cut off: %s", origin, result.room, result.cut_off
        )
    for note in result.notes:
        logger.warning("%s%s", origin, note)


def _json_line(result: EnhancedPrompt) -> str:
    values = asdict(result)
    return json.dumps({"prompt": values.pop("text"), **values})
