"""Extraction of the prompt from a language model's answer.

Models reason, greet, quote, list, explain and decorate, whatever the system prompt says.
"""

from __future__ import annotations

import re

from .answer_forms import unwrap
from .backends.base import MAX_ANSWER_TEXT
from .text import APOSTROPHES

MARKDOWN = re.compile(r"```\w*|`|\*\*|__|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)|^#+\s*", re.M)

RESULT = (
    r"(?:prompt|description|caption|version|rewrit\w*|translation|enhance\w*|answer|response|option|variation"
    r"|variant|alternative|idea)s?\b"
)
PREAMBLES = (
    r"(?:sure|certainly|of course|okay|ok|absolutely|great|got it)(?: thing)?"
    r"\s*[,.!:\N{EN DASH}\N{EM DASH}]\s*",
    rf"I(?:[{APOSTROPHES}](?:d|ll)| would| will| can)\b[^\n]*\n\s*",
    rf"(?:here(?:[{APOSTROPHES}]s| is| are)|below is|this is|below are|these are)\b"
    rf"[^\n:]{{0,100}}?\b{RESULT}[^\n:]{{0,100}}:\s*",
    r"title\s*:[^\n]*\n\s*",
    rf"(?:\w+\s+){{0,2}}{RESULT}\s*:\s*",
)
# Lines after the prompt that are none: "Negative prompt: blurry", "Note: I kept the fox."
TRAILER = re.compile(
    r"\n[^\w\n]{0,9}"
    r"(?:negative(?: \w+)?|notes?|explanation|tips?|changes|rationale|word count|why)\b"
    r"[^:\n]{0,20}:.*|\s*\((?:about |~)?\d+ (?:words|tokens|characters)\)\W*\Z",
    re.S | re.I,
)
ITEM = re.compile(r"\s*(?:[-*•]|(?P<number>\d{1,2})[.)])\s+(?=\S)")
# "Option 1: A fox ...", "Version A (calm) - A fox ...", "Option 2: The Chase" as a heading.
_OPTION = (
    r"[^\w\n]{0,9}(?:option|version|variation|variant|alternative|idea|concept|take|prompt)\s*"
    r"(?:#?\s*\d{1,2}|[A-E]\b)\s*(?:\([^)\n]{0,60}\))?\s*(?:[:.)\N{EN DASH}\N{EM DASH}-]\s*|\n)"
)
OPTION = re.compile(_OPTION, re.I)
NEXT_OPTION = re.compile(rf"\n(?={_OPTION})", re.I)
MAX_HEADING = 6  # words
MAX_INTRODUCTION = 20  # words of a first paragraph that ends with a colon
ASPECT = re.compile(
    r"\A\W*(?:subject|scene|setting|motion|movement|action|style|camera|light(?:ing)?|mood|details?"
    r"|atmosphere)\b[^:\n]{0,20}:\s*",
    re.I,
)
QUOTES = (
    *('""', "''", "“”", "„“", "«»", "»«", "「」", "『』"),
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}",
)


def clean_answer(answer: str) -> str:
    """Return the prompt in one line, without reasoning, greeting, list marks and quotes.

    Empty if there is none: the model refused, was cut off while reasoning, or repeats itself.
    """
    if len(answer.encode("utf-8", "surrogatepass")) > MAX_ANSWER_TEXT:
        return ""
    said = text = MARKDOWN.sub("", unwrap(answer)).strip()
    for preamble in PREAMBLES:
        text = re.sub(rf"\A{preamble}", "", text, flags=re.I)
    # Check both, for "Sure! I'm sorry, but", and because "I can't" matches a preamble's "I can".
    if is_refusal(said) or is_refusal(text):
        return ""
    return _unquote(" ".join(TRAILER.sub("", _prompt_of(text.strip())).split()))


def _prompt_of(text: str) -> str:
    """Return the first paragraph of running text, or a list's aspects or first alternative."""
    if option := OPTION.match(text):
        return _first_option(NEXT_OPTION.split(text[option.end() :])[0])
    lines = text.splitlines()
    first = ITEM.match(lines[0]) if lines else None
    items = _items(lines)
    if not first:
        labelled = [line for line in lines if ASPECT.match(line)]
        if len(labelled) < 2:
            return _first_paragraph(text)
        items = labelled
    elif first["number"] and not any(map(ASPECT.match, items)):
        return items[0]
    return ", ".join(ASPECT.sub("", item).rstrip(" .,;") for item in items)


def _items(lines: list[str]) -> list[str]:
    """Return the items of a list without their marks; lines that continue an item belong to it."""
    items: list[str] = []
    is_open = False
    for line in lines:
        if mark := ITEM.match(line):
            items.append(line[mark.end() :])
        elif is_open and line.strip():
            items[-1] += f" {line.strip()}"
        is_open = bool(items) and bool(line.strip())
    return items


def _first_paragraph(text: str) -> str:
    """Return the first paragraph, or the next if the first only introduces it: "Here you go:"."""
    first, *others = re.split(r"\n\s*\n", text)
    is_introduction = first.rstrip().endswith(":") and len(first.split()) <= MAX_INTRODUCTION
    return others[0] if is_introduction and others else first


def _first_option(text: str) -> str:
    """Return the first paragraph, or the second if the first is a short heading of it."""
    paragraphs = [part for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]
    first, _, rest = paragraphs[0].partition("\n") if paragraphs else ("", "", "")
    following = rest or (paragraphs[1] if len(paragraphs) > 1 else "")
    is_heading = len(first.split()) <= MAX_HEADING < len(following.split())
    return following if is_heading else f"{first} {rest}"


def _unquote(text: str) -> str:
    for opening, closing in map(tuple, QUOTES):
        if len(text) > 1 and text.startswith(opening) and text.endswith(closing):
            return text[1:-1].strip()
    return text


_NT = rf"n[{APOSTROPHES}]?t"
_NOT = rf"(?:\s+not|{_NT})"
_OPENINGS = (
    rf"(?:I[{APOSTROPHES}]?m|I\s+am)\s+(?:\w+\s+)?"
    r"(?:sorry|unable|not\s+(?:able|comfortable|allowed|permitted|programmed|designed|going\s+to))",
    rf"(?:I[{APOSTROPHES}]?m|I\s+am)\s+afraid\s+(?:that\s+)?(?:I|it|this|that|your)\b",
    rf"I\s+(?:can{_NT[1:]}|cannot|(?:ca|wo|do|could|would){_NT}|(?:can|will|do|could|would)\s+not)\b",
    r"I\s+(?:\w+\s+)?(?:must|have\s+to|need\s+to)\s+(?:\w+\s+)?(?:decline|refuse)",
    r"I\s+(?:\w+\s+)?(?:decline|refuse|apologi[sz]e)\b",
    r"(?:my\s+(?:\w+\s+)?)?apologies\b",
    r"sorry\s*(?:[,.:;!]|[-\N{EN DASH}\N{EM DASH}]\s|(?:but|for|that|I|about)\b|\Z)",
    r"as\s+an?\s+(?:[\w-]+\s+){0,4}(?:AI|assistant|model)\b[^,.\n]*,\s*I\b",
    r"(?:this|that|the|your)\s+(?:request|prompt|content|topic|text)\s+"
    rf"(?:\w+\s+)?(?:violates?|goes\s+against|conflicts|(?:can|is|does){_NOT}|cannot)\b",
    rf"(?:it|that|this)(?:[{APOSTROPHES}]s|\s+is|\s+would\s+be)\s+"
    r"(?:against|not\s+(?:possible|appropriate))\b",
    r"\(?(?:request|content)\s+(?:denied|refused|declined|blocked|filtered|policy|violation)\b",
    # A model may refuse a prompt in the prompt's language.
    r"(?:es\s+)?tut\s+mir\s+leid\b|(?:je\s+suis\s+)?désolée?\b|lo\s+siento\b|mi\s+dispiace\b",
    r"(?:me\s+)?desculp[ea]\b|извините|к сожалению|抱歉|对不起|很抱歉|申し訳|すみません|ごめん",
)
_LEAD_IN = r"\W*(?:(?:unfortunately|no|oh|hm+|well|regrettably|but)\b[,.!\s]+)*"
REFUSAL = re.compile(rf"\A{_LEAD_IN}(?:{'|'.join(_OPENINGS)})", re.IGNORECASE)


def is_refusal(answer: str) -> bool:
    """Return whether `answer` opens like a refusal."""
    return bool(REFUSAL.match(answer))
