"""Create an enhancer from the name of its source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..text.tokenizer import Tokenizer
from .backends.address import DEFAULT_URL, check_url
from .backends.api_key import key_for, withheld_notes
from .backends.base import Chat, Check, never_stop
from .backends.openai import ServerChat
from .cache import CachedChat, default_cache_dir
from .chat_enhancer import ChatEnhancer
from .enhancer import Enhancer
from .expander import BuiltinEnhancer

SOURCES = ("builtin", "local", "server")


def create_enhancer(
    source: str,
    tokenizer: Tokenizer,
    *,
    model: str | None = None,
    url: str = DEFAULT_URL,
    trusted: bool = True,
    cache_dir: Path | None = None,
    system: str | None = None,
    check: Check = never_stop,
) -> Enhancer:
    """Return an enhancer for use in a `with` block; a local model is loaded on first use.

    Args:
        source: one of `SOURCES`; for ComfyUI's own text generation, pass a `FunctionChat` to
            `ChatEnhancer` instead.
        tokenizer: tokenizer of the video model; it counts tokens and defines the vocabulary.
        model: the language model: a folder or hub id ("local"), or its name on the server.
        url: base URL of the server.
        trusted: whether the user chose `url`, so that the server may get HUMMINGBIRD_API_KEY;
            False if it comes from a workflow, see `backends.api_key`.
        cache_dir: folder for answers of language models; None is the user's cache folder.
        system: the system prompt of `ChatEnhancer`.
        check: called after each token ("local") or before each attempt ("server"); any exception
            it raises cancels the request.

    Raises:
        InputError: an unknown source, "local" without a model, "builtin" with a system prompt, or
            a malformed URL or key.
    """
    if source == "builtin":
        if system is not None:
            raise InputError(
                "got a system prompt for the built-in expander, which is no language model: choose "
                "source local or server"
            )
        return BuiltinEnhancer(tokenizer)
    notes: Sequence[str] = ()
    if source == "server":
        url = check_url(url)
        chat: Chat = ServerChat(url, model, key=key_for(url, trusted), check=check)
        notes = withheld_notes(url, trusted)
    else:
        chat = _local_chat(source, model, check)
    chat = CachedChat(chat, cache_dir or default_cache_dir() / "prompts")
    return ChatEnhancer(chat, tokenizer, system=system, notes=notes)


def _local_chat(source: str, model: str | None, check: Check) -> Chat:
    if source != "local":
        raise InputError(f"got source {source!r}, expected one of {', '.join(SOURCES)}: choose one")
    if model is None:
        raise InputError(
            "got no language model, expected a folder or the id of a downloaded model: name one"
        )
    from .backends.transformers import LocalChat

    return LocalChat(model, check=check)
