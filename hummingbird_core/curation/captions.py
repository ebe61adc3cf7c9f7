"""Captions rewritten by a language model; a server that dies makes the work wait, not fail."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ..errors import HummingbirdError, InputError
from ..journal import Journal, read_journal
from ..prompts import Enhancer, create_enhancer
from ..prompts.chat_enhancer import LEFT_ALONE
from ..prompts.server import DEFAULT_URL, ServerUnavailableError
from ..tokenizer import ClipTokenizer

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 120.0  # seconds until a silent server is asked again


@dataclass(frozen=True)
class CaptionSettings:
    """How captions are rewritten.

    Args:
        source: one of `prompts.SOURCES`.
        model: the language model, as `prompts.create_enhancer` takes it.
        url: of the server.
        seed: of the wording.
        parallel: requests at a time; a local model gets one.
        failure_budget: unanswered requests, in all, after which to give up.
    """

    source: str
    model: str | None = None
    url: str = DEFAULT_URL
    seed: int = 0
    parallel: int = 8
    failure_budget: int = 100

    def __post_init__(self) -> None:
        if self.parallel < 1 or self.failure_budget < 0:
            raise InputError(
                f"got {self.parallel} parallel requests and a failure budget of "
                f"{self.failure_budget}, expected at least 1 and 0"
            )

    def key(self) -> str:
        """Eight letters that differ whenever the wording may differ."""
        wording = {name: asdict(self)[name] for name in ("source", "model", "url", "seed")}
        return hashlib.sha256(json.dumps(wording).encode()).hexdigest()[:8]


def open_enhancer(settings: CaptionSettings) -> Enhancer:
    """The source of the new wording, for use in a `with` block."""
    return create_enhancer(settings.source, ClipTokenizer(), model=settings.model, url=settings.url)


def rewrite_captions(
    captions: Iterable[str],
    enhancer: Enhancer,
    settings: CaptionSettings,
    journal: Path,
    wait: Callable[[float], None] = time.sleep,
) -> dict[str, str]:
    """New wording of each caption; what is in `journal` already is not asked for again.

    While the server does not answer, the work pauses, longer each time, and goes on by itself.

    Args:
        captions: may repeat; empty ones are left out.
        enhancer: where the new wording comes from.
        settings: how many requests at a time, and when to give up.
        journal: file of what is done.
        wait: called with the seconds of a pause.

    Returns:
        caption -> its new wording, "" where the model can make nothing of it.

    Raises:
        HummingbirdError: the failure budget is spent, or the server refuses (a wrong key ...).
    """
    wanted = {caption for caption in captions if caption}
    done = {key: text for key, text in read_journal(journal) if key in wanted}
    todo = deque(sorted(wanted - done.keys()))
    threads = settings.parallel if settings.source == "server" else 1
    patience = _Patience(settings.failure_budget, wait)
    with (
        Journal(journal) as finished,
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(wanted), initial=len(done), desc="captions", disable=None) as bar,
    ):
        while todo:
            batch = [todo.popleft() for _ in range(min(len(todo), 4 * threads))]
            answers = list(pool.map(partial(_ask, enhancer, settings.seed), batch))
            for caption, answer in zip(batch, answers, strict=True):
                if isinstance(answer, str):
                    finished.append(caption, answer)
                    done[caption] = answer
                    bar.update()
            todo.extend(caption for caption in batch if caption not in done)
            patience.after([answer for answer in answers if not isinstance(answer, str)])
    return done


def _ask(enhancer: Enhancer, seed: int, caption: str) -> str | ServerUnavailableError:
    try:
        enhanced = enhancer.enhance(caption, seed)
    except ServerUnavailableError as error:
        return error
    except InputError as error:
        return _stays(caption, error)
    if LEFT_ALONE in enhanced.notes:
        return _stays(caption, LEFT_ALONE)
    return enhanced.text


def _stays(caption: str, reason: object) -> str:
    logger.warning("caption %.60r stays as it is: %s", caption, reason)
    return ""


class _Patience:
    """Waits longer each time that a server fails, and gives up when the budget is spent."""

    def __init__(self, failure_budget: int, wait: Callable[[float], None]) -> None:
        self.failures = 0
        self.budget = failure_budget
        self.wait = wait
        self.pause = FIRST_PAUSE

    def after(self, errors: list[ServerUnavailableError]) -> None:
        """Called after each round of requests with what was not answered."""
        if not errors:
            self.pause = FIRST_PAUSE
            return
        self.failures += len(errors)
        if self.failures > self.budget:
            raise HummingbirdError(
                f"{self.failures} requests for captions were not answered, the last because: "
                f"{errors[-1]}; what is done is kept: run the same command again to go on"
            )
        logger.warning("%s; asking again in %.0f s", errors[-1], self.pause)
        self.wait(self.pause)
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
