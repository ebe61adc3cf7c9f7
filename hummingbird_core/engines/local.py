"""The engine interface, and an engine of local processes.

An engine maps a function over items and yields the results as they arrive, in any order. The
function must not raise, and must be importable by name, as processes are spawned on every system.
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

# For the results of `on_worker_death`.
WORKER_DIED = "its worker process died twice: out of memory, or a crash in a library"
QUEUED_PER_WORKER = 4  # items submitted ahead: no worker waits, and the queue stays small


class Engine(Protocol):
    """Runs a stage over many items."""

    def map(
        self,
        stage: Callable[[Item], Result],
        items: Iterable[Item],
        on_worker_death: Callable[[Item], Result],
    ) -> Iterator[tuple[Item, Result]]:
        """Yield each item with its result.

        Args:
            stage: the function to run on each item.
            items: the items; only a few are taken ahead of the workers.
            on_worker_death: gives the result of an item that killed its process twice.
        """


class LocalEngine:
    """A pool of processes on this machine.

    Args:
        workers: number of processes.
        gpus: one GPU per worker, as named in CUDA_VISIBLE_DEVICES: a worker only sees its own,
            as "cuda". Empty: all workers see all GPUs.
    """

    def __init__(self, workers: int, gpus: Sequence[str] = ()) -> None:
        self.workers = workers
        self.gpus = gpus

    def map(
        self,
        stage: Callable[[Item], Result],
        items: Iterable[Item],
        on_worker_death: Callable[[Item], Result],
    ) -> Iterator[tuple[Item, Result]]:
        """See `Engine.map`."""
        suspects: list[Item] = []
        remaining = iter(items)
        while True:
            try:
                yield from self._map_in_one_pool(stage, remaining, self.workers, suspects)
                break
            except BrokenProcessPool:
                continue  # with the remaining items, in a new pool
        # One of the items in flight killed its process; run alone, the culprit is the one that does
        # it again.
        for item in suspects:
            try:
                yield from self._map_in_one_pool(stage, iter([item]), 1, [])
            except BrokenProcessPool:
                yield item, on_worker_death(item)

    def _map_in_one_pool(
        self,
        stage: Callable[[Item], Result],
        items: Iterator[Item],
        workers: int,
        suspects: list[Item],
    ) -> Iterator[tuple[Item, Result]]:
        """Yield results; if the pool breaks, add the items in flight to `suspects`."""
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
    except (
        BrokenProcessPool
    ) as error:  # the pool broke since the last check: the item is a suspect too
        failed: Future[Result] = Future()
        failed.set_exception(error)
        return failed


# State of a worker: a terminal sends Ctrl-C to all processes, but the pool would run its queue on.
_is_working, _is_interrupted = threading.Event(), threading.Event()


def _work(stage: Callable[[Item], Result], item: Item) -> Result:
    """Run the stage unless Ctrl-C came before; Ctrl-C interrupts it."""
    _is_working.set()
    try:
        if _is_interrupted.is_set():
            raise KeyboardInterrupt
        return stage(item)
    finally:
        _is_working.clear()


def _on_ctrl_c(signum: int, frame: FrameType | None) -> None:
    _is_interrupted.set()
    if _is_working.is_set():  # otherwise it would end the process, and with it the pool
        raise KeyboardInterrupt


def _start_worker(gpus: SimpleQueue[str]) -> None:
    _end_with_parent()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job ignores it
        signal.signal(signal.SIGINT, _on_ctrl_c)
    if not gpus.empty():  # one GPU per worker, or none at all
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.get()


def _end_with_parent() -> None:
    """Exit when the parent dies; a killed run would otherwise leave workers waiting for work."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
