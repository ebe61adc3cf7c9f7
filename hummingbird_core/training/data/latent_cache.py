"""Latents of clips on disk: each video is decoded and encoded once, not in every epoch.

The VAE encodes single frames, so one cache serves every frame stride and clip length. It stores
mean and standard deviation of the posterior: training still samples from it.

    FOLDER/<key>/process-<n>/clips.jsonl      outcome per video; a stop re-encodes at most one
    FOLDER/<key>/<id[:2]>/<id>.safetensors    mean and std, [T, 4, h, w] fp16, scaled

The key is a hash of frame size and VAE weights, the id a hash of the video's pixels: nothing is
mixed up or encoded twice, whatever the files' names. Each of several processes encodes its share.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from ...curation.source_video import SourceVideo
from ...engines.failures import FailureStreak
from ...engines.journal import Journal, read_journal
from ...engines.locks import only_run_in
from ...errors import HummingbirdError, InputError, NumericalError, one_line
from ...files import atomic_write
from ...terminal import get_logger
from ...vae.codec import encode_posterior
from ..loop.distributed import distributed_state
from .clip_reading import FrameConfig, read_frames, to_video

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

logger = get_logger(__name__)

Entry = dict[str, Any]  # of the journal: id, num_frames, fps and size, or error

CACHE_VERSION = 1  # raised when the meaning of the files changes
JOURNAL = "clips.jsonl"
ENCODE_CHUNK = 16  # frames converted to float at once
MAX_NAMED = 10  # skipped clips named in a warning
MAX_GIGABYTES = 100.0  # about 15,000 clips of 160 frames at full size
FULL = "is left out: the cache is full, raise data.max_gigabytes"


@dataclass(frozen=True)
class CachedClip:
    """One clip in a cache.

    Attributes:
        name: of its video in the source.
        caption: "" if there is none.
        path: safetensors file of its latents.
        num_frames: in that file.
        fps: of these frames.
        size: width and height of the video; None in caches of older versions.
    """

    name: str
    caption: str
    path: Path
    num_frames: int
    fps: float
    size: tuple[int, int] | None = None

    def read(self, first: int, last: int, stride: int) -> tuple[Tensor, Tensor]:
        """Read mean and deviation of the scaled latents of every `stride`-th frame, first to last.

        Returns:
            float32, `[4, T, h, w]` each.

        Raises:
            InputError: the file is damaged.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                parts = [file.get_slice(name)[first : last + 1] for name in ("mean", "std")]
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"cannot read the latents of {self.name} ({error}): delete {self.path} and start "
                "again"
            ) from error
        mean, std = (part[::stride].transpose(0, 1).float() for part in parts)
        return mean, std


@dataclass(frozen=True)
class Cached:
    """Cached clips of a list of videos, and by name the reasons for those left out."""

    clips: list[CachedClip]
    skipped: dict[str, str]


def cache_latents(
    videos: Sequence[SourceVideo],
    vae: AutoencoderKL,
    folder: Path,
    settings: FrameConfig,
    *,
    max_gigabytes: float = MAX_GIGABYTES,
) -> Cached:
    """Encode the videos missing in the cache, with a progress bar; call again after any stop.

    All processes of a run have to call it: each encodes a share of the videos, and all get the same
    result. An unreadable video is left out, counted and named.

    Args:
        videos: from `clip_index.list_clips`.
        vae: on the device to encode on.
        folder: of the cache; several sizes and VAEs can share one.
        settings: size and number of frames.
        max_gigabytes: limit of the latents for this key, older ones included, in 10^9 bytes.

    Raises:
        OutputError: the cache cannot be written, or another run is writing to it.
        NumericalError: the VAE gave NaN or infinity.
    """
    state = distributed_state()
    folder = folder / cache_key(vae, settings)
    share = Share(state.process_index, state.num_processes)
    encode_share(videos, vae, folder, settings, share, max_gigabytes)
    state.wait_for_everyone()
    found = _look_up(videos, _read_entries(folder), folder)
    report_skipped(found.skipped, len(videos))
    return found


@dataclass(frozen=True)
class Share:
    """The share of the videos that one of several processes encodes."""

    process: int = 0
    processes: int = 1

    def has(self, video: SourceVideo) -> bool:
        """Return whether the share holds a video: by its name, without communication."""
        return int.from_bytes(_name_hash(video), "big") % self.processes == self.process


def encode_share(
    videos: Sequence[SourceVideo],
    vae: AutoencoderKL,
    folder: Path,
    settings: FrameConfig,
    share: Share,
    max_gigabytes: float,
) -> None:
    """Encode the videos of a share missing in the cache; see `cache_latents`.

    Args:
        videos: of all shares.
        vae: on the device to encode on.
        folder: of this key.
        settings: size and number of frames.
        share: videos to encode.
        max_gigabytes: limit of the latents for this key, in 10^9 bytes.
    """
    entries = _read_entries(folder)
    mine = [video for video in videos if share.has(video)]
    todo = [v for v in mine if not _is_done(entries.get(v.cache_key()), max_gigabytes)]
    if not todo:  # another run may be reading
        return
    room = max_gigabytes * 1e9 - sum(file.stat().st_size for file in folder.glob("??/*"))
    place = folder / f"process-{share.process}"
    with only_run_in(place), Journal(place / JOURNAL) as journal:
        for key, entry in _encode_all(
            todo, vae, folder, settings, room / share.processes, max_gigabytes
        ):
            journal.append(key, entry)


def cache_key(vae: AutoencoderKL, settings: FrameConfig) -> str:
    """Return a hash of the frames' settings and the encoder's weights, which fix the latents."""
    text = json.dumps([CACHE_VERSION, asdict(settings), vae.config["scaling_factor"]])
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(vae.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def latents_path(folder: Path, clip_id: str) -> Path:
    """Return the path of a clip's latents, in one of 256 sub-folders."""
    return folder / clip_id[:2] / f"{clip_id}.safetensors"


def report_skipped(skipped: Mapping[str, str], total: int) -> None:
    """Log in one warning how many of `total` clips are left out, with their names."""
    if not skipped:
        return
    named = "; ".join(list(skipped.values())[:MAX_NAMED])
    more = f"; and {len(skipped) - MAX_NAMED} more" if len(skipped) > MAX_NAMED else ""
    logger.warning("%d of %d clips are left out: %s%s", len(skipped), total, named, more)


def _read_entries(folder: Path) -> dict[str, Entry]:
    """Read all journals: entries by key, without those whose latents were deleted.

    A video without room in one process may have been stored by another since.
    """
    entries: dict[str, Entry] = {}
    for path in sorted(folder.glob(f"process-*/{JOURNAL}")):
        for key, entry in read_journal(path):
            if "id" in entry and not latents_path(folder, entry["id"]).is_file():
                continue
            if _worth(entry) >= _worth(entries.get(key, {})):
                entries[key] = entry
    return entries


def _worth(entry: Entry) -> float:
    """Return the order of entries for one video: stored latents win."""
    return math.inf if "id" in entry else entry.get("full_at", 0.0)


def _name_hash(video: SourceVideo) -> bytes:
    """Return a sort key: a cache that fills up then holds a random subset."""
    return hashlib.sha256(video.name.encode()).digest()


def _is_done(entry: Entry | None, max_gigabytes: float) -> bool:
    """Return whether a video is finished; others had no room or failed by the machine's fault."""
    if entry is None or entry.get("again"):
        return False
    return entry.get("full_at", max_gigabytes) >= max_gigabytes


def _look_up(videos: Sequence[SourceVideo], entries: Mapping[str, Entry], folder: Path) -> Cached:
    found = Cached([], {})
    for video in videos:
        entry = entries.get(video.cache_key(), {"error": f"{video.name} has changed: start again"})
        if "id" in entry:
            path = latents_path(folder, entry["id"])
            size = tuple(entry["size"]) if "size" in entry else None
            facts = entry["num_frames"], entry["fps"], size
            found.clips.append(CachedClip(video.name, video.caption, path, *facts))
        else:
            found.skipped[video.name] = entry["error"]
    return found


def _encode_all(
    videos: Sequence[SourceVideo],
    vae: AutoencoderKL,
    folder: Path,
    settings: FrameConfig,
    room: float,
    max_gigabytes: float,
) -> Iterator[tuple[str, Entry]]:
    """Yield the outcome of each video; all together may take `room` bytes."""
    order = sorted(videos, key=_name_hash)
    streak = FailureStreak("clips")
    for video in tqdm(order, desc="latents", unit="clip", disable=None):
        entry: Entry = {"error": f"{video.name} {FULL}", "full_at": max_gigabytes}
        if room >= 0:
            known, size = _encode_video(video, vae, folder, settings, room)
            _note(streak, video, known)
            room -= size
            entry = known if room >= 0 else entry
        yield video.cache_key(), entry


def _note(streak: FailureStreak, video: SourceVideo, entry: Entry) -> None:
    """Raise HummingbirdError if everything fails for one reason."""
    if "id" in entry:
        streak.succeeded()
    elif entry.get("again") and Path(video.path).exists():
        streak.failed(video.name, entry["error"])


def _encode_video(
    video: SourceVideo, vae: AutoencoderKL, folder: Path, settings: FrameConfig, room: float
) -> tuple[Entry, int]:
    """Encode a video; return its outcome and size in bytes; write nothing beyond `room`."""
    try:
        frames = read_frames(video, settings)
    except InputError as error:
        is_gone = not (video.error or Path(video.path).is_file())
        return {"error": str(error), **({"again": True} if is_gone else {})}, 0
    except (HummingbirdError, OSError) as error:  # the machine's fault
        return {"error": f"{video.name}: {one_line(error)}", "again": True}, 0
    clip_id = hashlib.sha256(frames.pixels.data).hexdigest()[:32]
    facts = {"num_frames": len(frames.pixels), "fps": frames.fps, "size": frames.size}
    entry = {"id": clip_id, **facts}
    path = latents_path(folder, clip_id)
    if path.is_file():
        return entry, 0
    data = _encode(vae, frames.pixels)
    if len(data) <= room:
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
    return entry, len(data)


@torch.no_grad()
def _encode(vae: AutoencoderKL, pixels: np.ndarray) -> bytes:
    """Encode frames uint8 `[T, H, W, 3]` to the bytes of a safetensors file."""
    chunks = [pixels[start : start + ENCODE_CHUNK] for start in range(0, len(pixels), ENCODE_CHUNK)]
    posteriors = [encode_posterior(vae, to_video(chunk)[None]) for chunk in chunks]
    tensors = {}
    for name, parts in zip(("mean", "std"), zip(*posteriors, strict=True), strict=True):
        # [1, 4, T, h, w] -> [T, 4, h, w]: consecutive frames are one read from disk
        values = torch.cat(parts, dim=2)[0].transpose(0, 1).half().cpu().contiguous()
        if not values.isfinite().all():
            raise NumericalError(
                "the VAE turned frames into NaN or infinite latents: encode in bfloat16 or float32"
            )
        tensors[name] = values
    return save(tensors)
