"""Where the work is done: on the cores of this machine, or on a Ray cluster.

An engine maps a function over items and gives the results as they come, in any order. The function
must not raise, and must be importable by its name: processes are spawned, on every system.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.queues import SimpleQueue
from types import FrameType
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

QUEUED_PER_WORKER = 4  # items handed out ahead: enough that none waits, few enough to stay small


class Engine(Protocol):
    """Runs a stage over many items."""

    def map(
        self,
        stage: Callable[[Item], Result],
        items: Iterable[Item],
        lost: Callable[[Item], Result],
    ) -> Iterator[tuple[Item, Result]]:
        """Each item with its result; `lost(item)` for an item that killed its process, twice."""


class LocalEngine:
    """A pool of processes on this machine.

    Args:
        workers: how many.
        gpus: one for each worker, as CUDA_VISIBLE_DEVICES names it: a worker sees no other, and
            "cuda" is its own. Empty: all see everything.
    """

    def __init__(self, workers: int, gpus: Sequence[str] = ()) -> None:
        self.workers = workers
        self.gpus = gpus

    def map(
        self,
        stage: Callable[[Item], Result],
        items: Iterable[Item],
        lost: Callable[[Item], Result],
    ) -> Iterator[tuple[Item, Result]]:
        """See `Engine.map`."""
        suspects: list[Item] = []
        remaining = iter(items)
        while True:
            try:
                yield from self._map_in_one_pool(stage, remaining, self.workers, suspects)
                break
            except BrokenProcessPool:
                continue  # with what has not been handed out yet, in a new pool
        # One of those in flight has killed its process; alone, each shows whether it was the one.
        for item in suspects:
            try:
                yield from self._map_in_one_pool(stage, iter([item]), 1, [])
            except BrokenProcessPool:
                yield item, lost(item)

    def _map_in_one_pool(
        self,
        stage: Callable[[Item], Result],
        items: Iterator[Item],
        workers: int,
        suspects: list[Item],
    ) -> Iterator[tuple[Item, Result]]:
        """Adds to `suspects` what was in flight when the pool broke."""
        context = multiprocessing.get_context("spawn")
        gpus = context.SimpleQueue()
        for gpu in self.gpus:
            gpus.put(gpu)
        pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(gpus,))
        flying: dict[Future[Result], Item] = {}
        try:
            while True:
                for item in islice(items, workers * QUEUED_PER_WORKER - len(flying)):
                    flying[_submit(pool, stage, item)] = item
                if not flying:
                    return
                done, _ = wait(flying, return_when=FIRST_COMPLETED)
                for future in done:
                    if not isinstance(future.exception(), BrokenProcessPool):
                        yield flying.pop(future), future.result()
                if any(future in flying for future in done):
                    suspects += flying.values()
                    raise BrokenProcessPool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor, stage: Callable[[Item], Result], item: Item
) -> Future[Result]:
    try:
        return pool.submit(_work, stage, item)
    except BrokenProcessPool as error:  # it broke between two looks: this item is in doubt, too
        failed: Future[Result] = Future()
        failed.set_exception(error)
        return failed


# Of a worker: a terminal sends Ctrl-C to all processes, and the pool would go on with its queue.
_is_working, _is_interrupted = threading.Event(), threading.Event()


def _work(stage: Callable[[Item], Result], item: Item) -> Result:
    """The stage, until Ctrl-C breaks it off; none begins after that."""
    _is_working.set()
    try:
        if _is_interrupted.is_set():
            raise KeyboardInterrupt
        return stage(item)
    finally:
        _is_working.clear()


def _on_ctrl_c(signum: int, frame: FrameType | None) -> None:
    _is_interrupted.set()
    if _is_working.is_set():  # else it would end the process, and with it all others in the pool
        raise KeyboardInterrupt


def _start_worker(gpus: SimpleQueue[str]) -> None:
    _end_with_parent()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job ignores it
        signal.signal(signal.SIGINT, _on_ctrl_c)
    if not gpus.empty():  # there is one for every worker, or none at all
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.get()


def _end_with_parent() -> None:
    """Without this, workers of a killed run would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
