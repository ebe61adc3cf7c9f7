"""Explicit download of released checkpoints from their authors' repositories.

Nothing is re-hosted: the licences forbid it. `plan_download` returns source, size and licence
without using the network; `download` fetches, resumes and verifies. Both respect the hub's
environment variables `HF_ENDPOINT`, `HF_HUB_OFFLINE` and `HF_TOKEN`.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import DownloadError, InputError, OutputError, one_line
from ..files import ByteProgress, sha256_of_file
from ..terminal import get_logger

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

logger = get_logger(__name__)

HUMMINGBIRD_LICENSE = (
    "research RAIL-MS: research use only, no redistribution, no derivatives; "
    "download from the authors and convert for yourself"
)
VIDEOCRAFTER_LICENSE = "set by its authors: read the terms on the model's page first"


@dataclass(frozen=True)
class CatalogEntry:
    """A released file in a hub repository.

    Attributes:
        name: key in `CATALOG`.
        repo_id: hub id of the repository.
        file_name: path of the file in it.
        size_bytes: approximate size; a download asks the hub for the exact one.
        license: summary of the terms.
    """

    name: str
    repo_id: str
    file_name: str
    size_bytes: int
    license: str


@dataclass(frozen=True)
class DownloadPlan:
    """Source, size, licence and destination of a download.

    Attributes:
        name: key in `CATALOG`.
        repo_id: hub id of the repository.
        url: address of the file.
        size_bytes: approximate size.
        license: summary of the terms.
        destination: path of the file after the download.
    """

    name: str
    repo_id: str
    url: str
    size_bytes: int
    license: str
    destination: Path

    def describe(self) -> str:
        """Return one line with size, source and licence, for the user to accept."""
        size = f"about {self.size_bytes / 1e9:.1f} GB"
        return f"{self.name}: {size} from {self.repo_id}; licence: {self.license}"


_ENTRIES = (
    CatalogEntry(
        "hummingbird-0.7b",
        "amd/AMD-Hummingbird-T2V",
        "07B_merged_all.pt",
        4_800_000_000,
        HUMMINGBIRD_LICENSE,
    ),
    CatalogEntry(
        "hummingbird-0.9b",
        "amd/AMD-Hummingbird-T2V",
        "09B_merged_all.pt",
        5_500_000_000,
        HUMMINGBIRD_LICENSE,
    ),
    CatalogEntry(
        "videocrafter2",
        "VideoCrafter/VideoCrafter2",
        "model.ckpt",
        7_400_000_000,
        VIDEOCRAFTER_LICENSE,
    ),
)
CATALOG = {entry.name: entry for entry in _ENTRIES}

DOVER_LICENSE = "CC BY-NC: DOVER's weights are for non-commercial use only"
DOVER_PAGE = "https://github.com/VQAssessment/DOVER"
# Weights that cannot be verified: their page publishes no SHA-256.
BY_HAND = {
    "dover": "DOVER.pth or DOVER-Mobile.pth, for the learned scores: get it by hand from "
    f"{DOVER_PAGE}; licence: {DOVER_LICENSE}"
}


def plan_download(name: str, folder: str | Path = ".") -> DownloadPlan:
    """Describe a download without using the network.

    Args:
        name: key of `CATALOG`.
        folder: folder of the destination.

    Raises:
        InputError: the catalog has no such name, or the file has to be downloaded by hand.
    """
    from huggingface_hub import hf_hub_url

    if name in BY_HAND:
        raise InputError(f"{name} is {BY_HAND[name]}")
    if name not in CATALOG:
        raise InputError(f"got {name!r}, expected one of {', '.join(CATALOG)}: choose one")
    entry = CATALOG[name]
    return DownloadPlan(
        name=name,
        repo_id=entry.repo_id,
        url=hf_hub_url(entry.repo_id, entry.file_name),
        size_bytes=entry.size_bytes,
        license=entry.license,
        destination=Path(folder) / entry.file_name,
    )


def download(
    name: str,
    folder: str | Path,
    accept_licence: bool = False,
    progress: ByteProgress | None = None,
) -> Path:
    """Download a checkpoint, resuming an interrupted download.

    Args:
        name: key of `CATALOG`.
        folder: destination folder, created if missing.
        accept_licence: whether the user has seen `plan_download(name)` and accepts its licence.
        progress: called with (bytes done, bytes in all); an exception from it stops the transfer.

    Returns:
        the file; its size and SHA-256 match the hub's.

    Raises:
        InputError: the name is unknown, or the licence was not accepted.
        OutputError: the folder cannot be written or has too little space.
        DownloadError: the transfer is offline, refused, interrupted or corrupted.
    """
    plan = plan_download(name, folder)
    if not accept_licence:
        raise InputError(f"{plan.describe()}: accept the licence to download it")
    if _is_offline() and plan.destination.is_file():
        logger.warning("offline: using %s without verifying it", plan.destination)
        return plan.destination
    remote = _ask_hub(plan)
    if not (plan.destination.is_file() and _mismatch(plan.destination, remote) is None):
        _fetch(plan, remote, progress)
    return plan.destination


def _is_offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _ask_hub(plan: DownloadPlan) -> HfFileMetadata:
    """Return the file's exact size, SHA-256 and commit, from the hub."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        return get_hf_file_metadata(plan.url)
    except OfflineModeIsEnabled as error:
        raise DownloadError(
            f"cannot fetch {plan.name}: offline mode is on; unset HF_HUB_OFFLINE, or put "
            f"{plan.destination.name} into {plan.destination.parent} yourself"
        ) from error
    # The HTTP library below the hub's client, and with it the errors, differs between versions.
    except Exception as error:
        raise DownloadError(_failure(plan, error)) from error


def _fetch(plan: DownloadPlan, remote: HfFileMetadata, progress: ByteProgress | None) -> None:
    """Download into a partial file, and rename it once it is verified.

    `hf_hub_download` is not used: since huggingface_hub 1.x it restarts in every process, which
    wastes hours on a slow connection and a file of 5 GB. Its HTTP layer `http_get` still resumes.
    """
    # The name includes the version, so that one version is never resumed with another's bytes.
    version = (remote.etag or "unknown")[:16]
    partial = plan.destination.with_name(f".{plan.destination.name}.{version}.partial")
    _prepare_folder(partial, remote.size or plan.size_bytes)
    _transfer(plan, remote, partial, progress)
    if mismatch := _mismatch(partial, remote):
        partial.unlink()
        raise DownloadError(
            f"{plan.destination.name} was damaged on the way ({mismatch}): try again"
        )
    os.replace(partial, plan.destination)


def _prepare_folder(partial: Path, size: int) -> None:
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        arrived = partial.stat().st_size if partial.exists() else 0
        free = shutil.disk_usage(partial.parent).free
    except OSError as error:
        raise OutputError(
            f"cannot write to {partial.parent}: {error.strerror}; choose another folder"
        ) from error
    if free < size - arrived:
        raise OutputError(
            f"{partial.parent} has {free / 1e9:.1f} GB free, expected "
            f"{(size - arrived) / 1e9:.1f} GB: free some space or choose another folder"
        )


def _transfer(
    plan: DownloadPlan, remote: HfFileMetadata, partial: Path, progress: ByteProgress | None
) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    # Pin the commit of the metadata: the authors may upload another version at any time.
    url = hf_hub_url(plan.repo_id, plan.destination.name, revision=remote.commit_hash)
    total = remote.size or plan.size_bytes
    try:
        with partial.open("ab") as file:
            target: Any = _ReportingFile(file, total, progress) if progress else file
            http_get(
                url,
                target,
                resume_size=file.tell(),
                headers=build_hf_headers(),
                expected_size=remote.size,
            )
    except Exception as error:  # as in _ask_hub
        raise DownloadError(_failure(plan, error)) from error


class _ReportingFile:
    """A file that reports its size after each write."""

    def __init__(self, file: BinaryIO, total: int, progress: ByteProgress):
        self._file, self._total, self._progress = file, total, progress

    def write(self, data: bytes) -> int:
        written = self._file.write(data)
        self._progress(self._file.tell(), self._total)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _mismatch(path: Path, remote: HfFileMetadata) -> str | None:
    """Return why the file differs from the hub's metadata, or None if it matches."""
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        return f"{size} bytes, expected {remote.size}"
    expected = remote.etag or ""
    if not re.fullmatch("[0-9a-f]{64}", expected):  # the hub states SHA-256 for large files only
        logger.warning("the server states no SHA-256 of %s: only its size was checked", path.name)
        return None
    found = sha256_of_file(path)
    return None if found == expected else f"SHA-256 {found[:12]}..., expected {expected[:12]}..."


def _failure(plan: DownloadPlan, error: Exception) -> str:
    return (
        f"cannot fetch {plan.name} from {plan.url} ({one_line(error)}): check the network and "
        "try again, what has arrived is kept"
    )
