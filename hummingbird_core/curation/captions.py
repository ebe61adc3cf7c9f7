"""Correct captions with a language model; while the server is down, the work waits.

A caption of a training clip keeps to what it says can be seen: a camera or a style that nobody saw
teaches the model something false. So the built-in expander, which adds phrases to prompts, is no
source here, and an answer that adds a camera or a style is refused.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from ..engines.journal import Journal, read_journal
from ..errors import HummingbirdError, InputError
from ..prompts import Enhancer, create_enhancer
from ..prompts.backends.address import DEFAULT_URL
from ..prompts.backends.server_errors import RequestRefusedError, ServerUnavailableError
from ..prompts.chat_enhancer import LEFT_ALONE, system_prompt
from ..prompts.subject import invented_words
from ..terminal import get_logger
from ..text.tokenizer import ClipTokenizer
from .measure import short_hash
from .progress import progress

logger = get_logger(__name__)

SOURCES = ("local", "server")
SYSTEM_PROMPTS = ("caption", "translate")
FIRST_PAUSE, MAX_PAUSE = 5.0, 120.0  # seconds between requests to an unresponsive server
SERVER_ERROR = 500  # may concern a single request; other failures concern the server
# Consecutive failed rounds after which the remaining captions, if all suspect, are given up.
LAST_TRIES = 5
# Requests, in 6 minutes of pauses, to an address where nothing was ever reached: loading a model
# takes a server less than that, and a wrong address would cost hours.
FIRST_TRIES = 8


@dataclass(frozen=True)
class CaptionConfig:
    """Settings of the rewriting of captions.

    Args:
        source: one of `SOURCES`.
        model: the language model, as `prompts.create_enhancer` takes it.
        url: address of the server.
        seed: seed of the wording.
        parallel: number of concurrent requests; a local model gets one.
        failure_budget: number of consecutive unanswered requests, with pauses, before giving up.
    """

    source: str
    model: str | None = None
    url: str = DEFAULT_URL
    seed: int = 0
    parallel: int = 8
    failure_budget: int = 100

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise InputError(
                f"got captions from {self.source!r}, expected one of {', '.join(SOURCES)}: the "
                "built-in expander invents what no clip shows, it is for prompts only"
            )
        if self.parallel < 1 or self.failure_budget < 0:
            raise InputError(
                f"got {self.parallel} parallel requests and a failure budget of "
                f"{self.failure_budget}, expected at least 1 and 0"
            )

    def cache_key(self) -> str:
        """Return a cache key of eight letters that changes whenever the wording may change."""
        wording = {name: asdict(self)[name] for name in ("source", "model", "url", "seed")}
        wording["system"] = [system_prompt(name) for name in SYSTEM_PROMPTS]  # users may edit them
        return short_hash(wording)


def open_enhancer(settings: CaptionConfig) -> Enhancer:
    """Create the enhancer that rewrites captions, for use in a `with` block."""
    return create_enhancer(
        settings.source,
        ClipTokenizer(),
        model=settings.model,
        url=settings.url,
        system=system_prompt("caption"),
    )


def rewrite_captions(
    captions: Iterable[str],
    enhancer: Enhancer,
    settings: CaptionConfig,
    journal: Path,
    wait: Callable[[float], None] = time.sleep,
) -> dict[str, str]:
    """Rewrite each caption that is not in `journal` yet.

    While the server does not answer, the work pauses with exponential backoff and resumes. A
    caption that stays unanswered while others are answered is left unchanged and out of the
    journal, so that the next run requests it again.

    Args:
        captions: may repeat; empty ones are skipped.
        enhancer: the source of the new wording.
        settings: concurrency and failure budget.
        journal: file of the finished captions.
        wait: called with the seconds of a pause.

    Returns:
        caption -> its new wording, "" if the model cannot rewrite it.

    Raises:
        HummingbirdError: the failure budget is spent, or the server refuses all requests, for
            example for a wrong key.
    """
    wanted = {caption for caption in captions if caption}
    done = {key: text for key, text in read_journal(journal) if key in wanted}
    work = _Work(wanted - done.keys(), settings.failure_budget, any(done.values()))
    threads = settings.parallel if settings.source == "server" else 1
    patience = _Patience(settings.failure_budget, wait)
    with (
        Journal(journal) as finished,
        ThreadPoolExecutor(threads) as pool,
        progress("captions", len(wanted), len(done)) as count,
    ):
        while not work.is_over(patience.failures):
            patience.pause()
            batch = work.take(1 if patience.failures else 4 * threads)
            answers = list(pool.map(partial(_ask, enhancer, settings.seed), batch))
            for caption, answer in zip(batch, answers, strict=True):
                if isinstance(answer, str):
                    finished.append(caption, answer)
                    done[caption] = answer
                    count()
            work.after(batch, answers)
            patience.after(answers)
    return {caption: done.get(caption, "") for caption in wanted}


Answer = str | RequestRefusedError | ServerUnavailableError


def _ask(enhancer: Enhancer, seed: int, caption: str) -> Answer:
    try:
        enhanced = enhancer.enhance(caption, seed)
    except ServerUnavailableError as error:
        return error
    except (InputError, RequestRefusedError) as error:
        logger.warning("caption %.60r stays as it is: %s", caption, error)
        return "" if isinstance(error, InputError) else error
    if LEFT_ALONE in enhanced.notes:
        logger.warning("caption %.60r stays as it is: %s", caption, LEFT_ALONE)
        return ""
    if invented := invented_words(enhanced.english or caption, enhanced.text):
        added = ", ".join(invented)
        logger.warning("caption %.60r stays as it is: the answer invented %s", caption, added)
        return ""
    return enhanced.text


class _Work:
    """The queue of captions to request, with the captions suspected of causing failures.

    Args:
        captions: all captions to request.
        failure_budget: maximum number of failures.
        has_worked: whether the server has answered such requests, in this run or an earlier one.
    """

    def __init__(self, captions: set[str], failure_budget: int, has_worked: bool) -> None:
        self.todo = deque(sorted(captions))
        self.budget = failure_budget
        self.has_worked = has_worked
        self.suspects: set[str] = set()  # failed while the server seemed healthy
        self.refusals: list[RequestRefusedError] = []

    def take(self, count: int) -> list[str]:
        """Remove and return the next captions, at most `count`."""
        return [self.todo.popleft() for _ in range(min(len(self.todo), count))]

    def after(self, batch: list[str], answers: list[Answer]) -> None:
        """Requeue the captions of a round that may be answered later.

        Raises:
            RequestRefusedError: the server refuses all requests, so the texts are not the reason.
        """
        self.has_worked |= any(isinstance(answer, str) and answer for answer in answers)
        server_is_well = not all(isinstance(answer, ServerUnavailableError) for answer in answers)
        for caption, answer in zip(batch, answers, strict=True):
            if isinstance(answer, RequestRefusedError):
                self.refusals.append(answer)
            elif isinstance(answer, ServerUnavailableError):
                self.todo.append(caption)
                if server_is_well or answer.status == SERVER_ERROR:
                    self.suspects.add(caption)
        is_enough = not self.todo or len(self.refusals) > self.budget
        if self.refusals and is_enough and not self.has_worked:
            raise self.refusals[-1]

    def is_over(self, failures: int) -> bool:
        """Return whether nothing is left but captions that fail on a working server."""
        tries = min(LAST_TRIES, self.budget)
        if self.todo and not (
            self.has_worked and failures >= tries and self.suspects.issuperset(self.todo)
        ):
            return False
        for caption in self.todo:
            logger.warning("caption %.60r stays as it is: no answer to it came", caption)
        return True


class _Patience:
    """Exponential backoff that gives up when the failure budget is spent."""

    def __init__(self, failure_budget: int, wait: Callable[[float], None]) -> None:
        self.failures = 0  # consecutive rounds without any answer
        self.was_reached = False  # the server said something, if only that it is busy
        self.budget = failure_budget
        self.wait = wait
        self.last: ServerUnavailableError | None = None  # error of the latest round

    def after(self, answers: list[Answer]) -> None:
        """Count the failures of a round of requests.

        Raises:
            HummingbirdError: the failure budget is spent.
        """
        errors = [answer for answer in answers if isinstance(answer, ServerUnavailableError)]
        self.last = errors[-1] if errors else None
        self.failures = self.failures + 1 if len(errors) == len(answers) else 0
        self.was_reached |= len(errors) < len(answers) or any(e.status for e in errors)
        budget = self.budget if self.was_reached else min(self.budget, FIRST_TRIES)
        if self.failures > budget:
            raise HummingbirdError(
                f"{self.failures} requests for captions in a row were not answered, the last "
                f"because: {self.last}; what is done is kept: run the same command again to go on"
            )

    def pause(self) -> None:
        """Wait before the next round if the latest one failed."""
        if self.last:
            pause = min(FIRST_PAUSE * 2 ** max(self.failures - 1, 0), MAX_PAUSE)
            logger.warning("%s; asking again in %.0f s", self.last, pause)
            self.wait(pause)
