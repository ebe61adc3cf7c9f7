"""Decode a file with the ffmpeg executable, and tell its own failures from those of the file.

A process that was killed, or that never started, gives no frames or too few, exactly as a damaged
file does. ffmpeg ends its report of progress with `progress=end`, for damaged files too; without
it, it was stopped.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ..errors import HummingbirdError, MissingPackageError, machine_advice
from .ffmpeg import MIN_VERSION, ffmpeg, too_old

_NO_HEADER = "Could not load meta information"  # of imageio-ffmpeg, before ffmpeg's log
_REFUSED_OPTION = re.compile(r"Option not found|Unrecognized option")
# ffmpeg's words for faults of the machine, and for any failure that it explains.
_MACHINE = re.compile(
    r"Cannot allocate memory|Too many open files|No space left on device|Permission denied"
    r"|Resource temporarily unavailable|Input/output error|error while loading shared libraries",
    re.IGNORECASE,
)
_EXPLAINED = re.compile(r"error|invalid|could not|unable|failed|not found|no such", re.IGNORECASE)


def decode(
    path: Path, input_params: Sequence[str], output_params: Sequence[str]
) -> Generator[Any, None, None]:
    """Yield imageio-ffmpeg's dictionary of the file's properties, then each frame's bytes, rgb24.

    Args:
        path: the file; ffmpeg gets its absolute path, so that no name looks like an option or a
            protocol.
        input_params, output_params: further options of ffmpeg.

    Raises:
        HummingbirdError: ffmpeg could not start or was stopped; nothing is known about the file.
        MissingPackageError: there is no ffmpeg, or it is too old.
        OSError or RuntimeError: the file cannot be decoded.
    """
    with _temporary_folder() as folder:
        report = folder / "progress"
        reader = ffmpeg().read_frames(
            str(path.absolute()),
            pix_fmt="rgb24",
            input_params=list(input_params),
            output_params=[*output_params, "-progress", str(report)],
        )
        with closing(reader):
            try:
                yield from reader
            except (OSError, RuntimeError) as error:
                if fault := _fault(path, error, report):
                    raise fault from error
                raise
        if not _has_ended(report):
            raise _stopped(path)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="hummingbird-", ignore_cleanup_errors=True)
    except OSError as error:
        raise HummingbirdError(
            f"cannot make a temporary folder: {machine_advice(error) or error}; set TMPDIR"
        ) from error
    with folder as name:
        yield Path(name)


def _has_ended(report: Path) -> bool:
    return report.exists() and b"progress=end" in report.read_bytes()[-4096:]


def _stopped(path: Path) -> HummingbirdError:
    return HummingbirdError(
        f"ffmpeg was stopped while it decoded {path.name}: the memory was full, or somebody ended "
        "it; try again"
    )


def _fault(path: Path, error: Exception, report: Path) -> HummingbirdError | None:
    """Return the error to raise if the cause is the machine's, None if it is the file's."""
    text = str(error)
    if isinstance(error, OSError) and error.errno is not None:  # of the start of the process
        return HummingbirdError(f"ffmpeg could not start: {error.strerror}; try again")
    if _REFUSED_OPTION.search(text) and (version := too_old()):
        return MissingPackageError(
            f"got ffmpeg {version}, expected {MIN_VERSION[0]}.{MIN_VERSION[1]} or newer: pip "
            "install -U imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE"
        )
    if found := _MACHINE.search(text):
        return HummingbirdError(f"ffmpeg could not read {path.name}: {found[0]}; try again")
    reason, _, log = text.partition("=== stderr ===")
    is_explained = reason.startswith(_NO_HEADER) and _EXPLAINED.search(log)
    return None if is_explained or _has_ended(report) else _stopped(path)
