"""Whether a language model's answer says that it will not answer.

There are only the openings that refusals have, so an answer in which someone in the picture speaks
("I can't stop, says the robot") counts as one too. That costs one more question to the model; a
refusal taken for a prompt would be sent to the video model, or trained on.
"""

from __future__ import annotations

import re

from .words import APOSTROPHES

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
    # A prompt in another language may be refused in that language.
    r"(?:es\s+)?tut\s+mir\s+leid\b|(?:je\s+suis\s+)?désolée?\b|lo\s+siento\b|mi\s+dispiace\b",
    r"(?:me\s+)?desculp[ea]\b|извините|к сожалению|抱歉|对不起|很抱歉|申し訳|すみません|ごめん",
)
_LEAD_IN = r"\W*(?:(?:unfortunately|no|oh|hm+|well|regrettably|but)\b[,.!\s]+)*"
REFUSAL = re.compile(rf"\A{_LEAD_IN}(?:{'|'.join(_OPENINGS)})", re.IGNORECASE)


def is_refusal(answer: str) -> bool:
    """Whether `answer` opens as refusals do."""
    return bool(REFUSAL.match(answer))
