"""Explicit download of released checkpoints from their authors' repositories.

Nothing is re-hosted: the licences forbid it. `plan_download` returns source, size and licence
without using the network; `download` fetches, resumes and verifies. Both respect the hub's
environment variables `HF_ENDPOINT`, `HF_HUB_OFFLINE` and `HF_TOKEN`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import (
    DownloadError,
    HummingbirdError,
    InputError,
    OutputError,
    machine_advice,
    one_line,
)
from ..files import ByteProgress
from ..terminal import get_logger
from .transfer import RemoteFile, fetch_verified

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

_COMMIT = re.compile("[0-9a-f]{40}")

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
    try:
        metadata = _ask_hub(plan)
        remote = RemoteFile(
            size=metadata.size if metadata.size and metadata.size > 0 else None,
            etag=metadata.etag or "",
            approximate_size=plan.size_bytes,
        )
        is_there = plan.destination.is_file() and remote.mismatch(plan.destination) is None
        if not is_there:
            send = partial(_send, plan, metadata)
            fetch_verified(remote, plan.destination, send, progress)
    except OSError as error:
        if isinstance(error, HummingbirdError):
            raise
        raise OutputError(_cannot_write(plan, error)) from error
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


def _send(plan: DownloadPlan, metadata: HfFileMetadata, file: Any, arrived: int) -> None:
    """Write the bytes of the file from `arrived` on.

    `hf_hub_download` is not used: since huggingface_hub 1.x it restarts in every process, which
    wastes hours on a slow connection and a file of 5 GB. Its HTTP layer `http_get` still resumes.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    # Pin the commit of the metadata: the authors may upload another version at any time.
    commit = metadata.commit_hash or ""
    revision = commit if _COMMIT.fullmatch(commit) else None
    url = hf_hub_url(plan.repo_id, plan.destination.name, revision=revision)
    try:
        http_get(
            url,
            file,
            resume_size=arrived,
            headers=build_hf_headers(),
            expected_size=metadata.size,
        )
    except HummingbirdError:
        raise
    except Exception as error:  # as in _ask_hub
        if machine_advice(error):
            raise OutputError(_cannot_write(plan, error)) from error
        raise DownloadError(_failure(plan, error)) from error


def _cannot_write(plan: DownloadPlan, error: Exception) -> str:
    reason = machine_advice(error) or getattr(error, "strerror", None) or one_line(error)
    return (
        f"cannot write to {plan.destination.parent}: {reason}; what has arrived is kept, or choose "
        "another folder"
    )


def _failure(plan: DownloadPlan, error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        advice = (
            f"accept the terms on https://huggingface.co/{plan.repo_id} if it has any, and log in "
            "with `hf auth login` or HF_TOKEN"
        )
    elif status == 404:
        advice = "it may have moved, or HF_ENDPOINT names a server that lacks it"
    else:
        advice = "check the network and try again, what has arrived is kept"
    return f"cannot fetch {plan.name} from {plan.url} ({one_line(error)}): {advice}"
