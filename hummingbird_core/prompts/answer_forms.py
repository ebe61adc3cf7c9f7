"""Wrappings around the prompt in a language model's answer: thoughts, JSON, fences, quotations.

Each function takes a text and returns what is inside; `unwrap` applies them all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..errors import is_hidden

# Sequences that move the cursor or color a terminal: CSI, OSC, and those of two letters.
ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|\Z)|\x1b[ -~]"
)
LINE_ENDS = re.compile("\r\n?|[\v\f\u0085\u2028\u2029]")

_TAGS = r"(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad)"
_OPENINGS = (
    rf"<{_TAGS}>",
    rf"◁{_TAGS}▷",  # Kimi
    r"\[THINK\]",  # Mistral
    r"<\|(?:begin_of_thought|start_thinking|think|inner_prefix)\|>",  # OpenThinker, Cohere, Apertus
    r"<unused94>",  # MedGemma
)
_CLOSINGS = (
    rf"</{_TAGS}>",
    rf"◁/{_TAGS}▷",
    r"\[/THINK\]",
    r"<\|(?:end_of_thought|end_thinking|/think|inner_suffix)\|>",
    r"<unused95>",
)
_CLOSING = "|".join(_CLOSINGS)
THOUGHT = re.compile(rf"(?:{'|'.join(_OPENINGS)}).*?(?:{_CLOSING}|\Z)", re.S | re.I)
# If the chat template writes the opening tag itself, the answer only has the closing one.
END_OF_THOUGHT = re.compile(rf"\A.*(?:{_CLOSING})", re.S | re.I)
CHANNEL = re.compile(r"\A.*<\|channel\|>final<\|message\|>", re.S)  # gpt-oss
# "Here is my thought process: ... Here is my response: ..." (Granite), "Reasoning: ... Answer: ..."
_TOLD_THOUGHT = re.compile(
    r"\A\W*(?:(?:here is|here's) my |my )?(?:thought process|thoughts|thinking|reasoning)\W*:", re.I
)
_TOLD_ANSWER = re.compile(
    r"^\W*(?:(?:here is|here's) my |my |the )?(?:final |enhanced |rewritten )?"
    r"(?:response|answer|prompt|output|result)\W*:\W*",
    re.I | re.M,
)
CONTROL = re.compile(r"<\|[^<>|]*\|>|</?s>", re.I)
TAGGED = re.compile(
    r"<(\w{0,20}(?:answer|prompt|response|output|result|final|solution))>(.*?)(?:</\1>|\Z)",
    re.S | re.I,
)
FENCE = re.compile(r"^[ \t]*(```|~~~)[^\n`]*\n(.*?)(?:^[ \t]*\1|\Z)", re.S | re.M)
BLOCKQUOTE = re.compile(r"(?:^[ \t]*>[^\n]*(?:\n|\Z))+", re.M)
JSON_START = re.compile(r"^[ \t]*[\[{]", re.M)
# Keys of an answer in JSON, best first; other keys count if there is only one text.
KEYS = (
    *("prompt", "enhancedprompt", "improvedprompt", "rewrittenprompt", "videoprompt"),
    *("positiveprompt", "positive", "finalprompt", "prompts", "text", "caption", "description"),
    *("answer", "response", "result", "output", "content", "translation", "english"),
)
NO_PROMPT = re.compile(
    "negative|avoid|exclude|note|reason|thought|explanation|title|seed|style|language|original"
)


def unwrap(answer: str) -> str:
    """Return the text in an answer that is meant for the user; "" if it has only thoughts."""
    text = strip_thoughts(strip_controls(answer))
    if tagged := TAGGED.search(text):
        text = tagged[2]
    text = strip_blockquote(strip_fence(text))
    return strip_controls(from_json(text))


def strip_controls(text: str) -> str:
    """Remove what is not seen in a text, or changes how it is shown; lines end with a newline."""
    text = LINE_ENDS.sub("\n", ANSI.sub("", text))
    return "".join(char for char in text if char in "\n\t" or not is_hidden(char))


def strip_thoughts(text: str) -> str:
    """Remove the reasoning before the answer, in any of the forms of common models."""
    text = END_OF_THOUGHT.sub("", THOUGHT.sub("", CHANNEL.sub("", text)))
    text = CONTROL.sub("", text).strip()
    if _TOLD_THOUGHT.match(text):
        answers = list(_TOLD_ANSWER.finditer(text))
        return text[answers[-1].end() :] if answers else ""
    return text


def strip_fence(text: str) -> str:
    """Return the contents of the first fenced code block, or the text if there is none."""
    fence = FENCE.search(text)
    return fence[2].strip() if fence and fence[2].strip() else text


def strip_blockquote(text: str) -> str:
    """Return the contents of the first Markdown quotation, or the text if there is none."""
    quote = BLOCKQUOTE.search(text)
    inner = re.sub(r"^[ \t]*>+[ \t]?", "", quote[0], flags=re.M).strip() if quote else ""
    return inner or text


def from_json(text: str) -> str:
    """Return the prompt in an answer in JSON, "" if it holds none, and other texts unchanged."""
    start = JSON_START.search(text)
    if not start:
        return text
    try:
        value, _ = json.JSONDecoder().raw_decode(text[start.end() - 1 :])
    except (ValueError, RecursionError):
        # Broken JSON is no prompt; a bracket further down is a part of one.
        return "" if re.match(r"""\s*[\[{]\s*(["{\[]|'\w+'\s*:)""", text) else text
    if isinstance(value, dict) or start.start() == 0:
        return _prompt_in(value)
    return text


def _prompt_in(value: Any, depth: int = 4) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and depth:
        return next(filter(None, (_prompt_in(entry, depth - 1) for entry in value)), "")
    if not isinstance(value, Mapping) or not depth:
        return ""
    named = {re.sub(r"[\W_\d]+", "", str(key).lower()): inner for key, inner in value.items()}
    for key in KEYS:
        if key in named and (found := _prompt_in(named[key], depth - 1)):
            return found
    others = [inner for key, inner in named.items() if not NO_PROMPT.search(key)]
    texts = [text for inner in others if (text := _prompt_in(inner, depth - 1))]
    return texts[0] if len(texts) == 1 else ""
