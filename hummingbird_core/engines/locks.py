"""Locks of folders and files that hold between processes and end with their process.

The operating system grants and frees them: no two starts get one, however close, and a kill leaves
none behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import OutputError
from ..terminal import get_logger

logger = get_logger(__name__)

LOCK_NAME = "running.lock"


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Lock `folder`: two concurrent runs in one folder would mix their results.

    Raises:
        OutputError: another run holds the lock, or the folder is not writable.
    """
    taken = f"another run is at work in {folder}: wait for it, or choose another folder"
    with only_one(folder / LOCK_NAME, taken):
        yield


@contextmanager
def only_one(lock: Path, taken: str) -> Iterator[None]:
    """Hold the lock of the file `lock`, which is made and removed; never wait for it.

    Args:
        lock: path of the lock file; missing folders are made.
        taken: message of the error if another process, or another thread of this one, holds it.

    Raises:
        OutputError: the lock is taken, or its folder is not writable.
    """
    held = FileLock(lock)
    try:
        _acquire(held, lock)
    except Timeout as error:
        raise OutputError(taken) from error
    except NotImplementedError:  # of older versions; newer ones fall back to another lock
        logger.warning("the file system of %s has no locks: start only one run", lock.parent)
    except OSError as error:
        raise OutputError(
            f"cannot write to the folder {lock.parent}: {error.strerror or error}; choose another "
            "output"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows deletes no open file: it stays, unlocked
            lock.unlink()
        held.release()


def _acquire(held: FileLock, lock: Path) -> None:
    """Acquire the lock at once, of the file that is at the path still.

    The holder before may have removed the file between our opening and locking it. Such a lock
    excludes nobody: the next one makes a new file. While a file is open no other gets its inode, so
    the same inode before and after means that it was never removed, and from now on only we remove
    it.

    Raises:
        Timeout: another holds the lock.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    before = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        held.acquire(timeout=0)
        if not _is_at(before, lock):
            held.release()
            raise Timeout(str(lock))
    finally:
        os.close(before)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
