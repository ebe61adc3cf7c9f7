"""Prompt enhancement by a language model, with a check that the subject is kept.

The answer is verified: the words of the subject must occur in the part that fits the window. If
not, the model gets one retry with a description of the mistake; if that fails too, the user's own
words are put first.

A prompt in another language is first translated by the same model, because the text encoder was
trained on English, and the subject is taken from the translation. The translation cannot be
verified, so it is returned with the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from ..terminal import get_logger
from ..text.tokenizer import Tokenizer, WordTokenizer
from .answers import clean_answer
from .backends.base import Chat, LongAnswerError
from .enhancer import EnhancedPrompt, Enhancer, check_request
from .language import is_surely_foreign, looks_foreign
from .subject import lost_words, subject_words
from .text import FittedText, fit_window, strip_end, window_size

logger = get_logger(__name__)

SYSTEM_PROMPTS = Path(__file__).parent / "system"
WORDS_PER_TOKEN = 0.6  # of English prompts with punctuation, a conservative estimate
OWN_WORDS_FIRST = "The language model lost the subject twice: your own words were put first."
LEFT_ALONE = "The language model gave no usable answer twice: the prompt was left as it was."
NOT_TRANSLATED = "The language model gave no translation: the prompt was taken as it is."


class ChatEnhancer(Enhancer):
    """Rewrites prompts with a language model.

    Args:
        chat: the language model.
        tokenizer: tokenizer of the video model. If its vocabulary is a list of words, as for the
            built-in model, prompts only use these.
        system: the system prompt, in which `$words` and `$vocabulary` are filled in; None takes
            the text file of this package that suits the tokenizer.
        notes: sentences for the user that are added to every result.
    """

    def __init__(
        self,
        chat: Chat,
        tokenizer: Tokenizer,
        *,
        system: str | None = None,
        notes: Sequence[str] = (),
    ):
        self._chat = chat
        self._notes = notes
        self._tokenizer = tokenizer
        words = tokenizer.words if isinstance(tokenizer, WordTokenizer) else []
        system = system or system_prompt("small_vocabulary" if words else "video")
        self._system = Template(system).safe_substitute(
            words=int(WORDS_PER_TOKEN * window_size(tokenizer)), vocabulary=" ".join(words)
        )

    def enhance(self, prompt: str, seed: int = 0) -> EnhancedPrompt:
        """Return the rewritten prompt, translated first if it is not English."""
        line = check_request(prompt, seed)
        notes = [*self._notes]
        english = self._translate(line, seed, notes) if looks_foreign(line) else None
        fitted = self._rewrite(english or line, seed, notes)
        return EnhancedPrompt(
            text=fitted.text,
            original=prompt,
            source=self._chat.source,
            model=self._chat.model,
            seed=seed,
            tokens=fitted.tokens,
            room=window_size(self._tokenizer),
            cut_off=fitted.cut_off,
            english=english,
            notes=tuple(notes),
        )

    def close(self) -> None:
        """Free the language model's memory."""
        self._chat.close()

    def _translate(self, prompt: str, seed: int, notes: list[str]) -> str | None:
        english = self._answer(system_prompt("translate"), prompt, seed)
        if not english or is_surely_foreign(english):
            notes.append(NOT_TRANSLATED)
            return None
        return english if english != prompt else None

    def _answer(self, system: str, question: str, seed: int) -> str:
        """Return the prompt in the model's answer; "" if it holds none."""
        try:
            return clean_answer(self._chat.answer(system, question, seed))
        except LongAnswerError as error:
            logger.warning("%s", error)
            return ""

    def _rewrite(self, prompt: str, seed: int, notes: list[str]) -> FittedText:
        answer = self._answer(self._system, prompt, seed)
        complaint = self._complaint(prompt, answer)
        if complaint:
            question = f"{prompt}\n\n({complaint})"
            answer = self._answer(self._system, question, seed)
            complaint = self._complaint(prompt, answer)
        if not complaint:
            return fit_window(answer, self._tokenizer)
        if answer and not self._unknown(answer) and not is_surely_foreign(answer):
            notes.append(OWN_WORDS_FIRST)
            return fit_window(f"{strip_end(prompt)}, {answer}", self._tokenizer)
        notes.append(LEFT_ALONE)
        return fit_window(prompt, self._tokenizer)

    def _complaint(self, prompt: str, answer: str) -> str | None:
        """Return what is wrong with an answer, worded for the language model, or None."""
        if not answer:
            return "Your last answer held no prompt. Answer with the prompt alone."
        unknown = self._unknown(answer)
        if unknown:
            return f"Your last answer used words that are not in the list: {', '.join(unknown)}."
        if is_surely_foreign(answer):
            return "Your last answer was not in English. Answer in English."
        wanted = [word for word in subject_words(prompt) if not self._unknown(word)]
        lost = lost_words(wanted, fit_window(answer, self._tokenizer).text)
        if lost:
            return f"Begin with the user's own words. Your last answer lost: {', '.join(lost)}."
        return None

    def _unknown(self, text: str) -> list[str]:
        return self._tokenizer.unknown_words(self._tokenizer.clean(text))


def system_prompt(name: str) -> str:
    """Return the text of `system/NAME.txt`."""
    return (SYSTEM_PROMPTS / f"{name}.txt").read_text(encoding="utf-8")
