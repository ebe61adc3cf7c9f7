"""Videos in WebDataset shards: tar archives with the files of a sample one after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from posixpath import basename, splitext

from ..errors import InputError
from ..inputs.archives import TRUNCATED, Member, list_members, read_member
from ..inputs.text import as_unicode
from .caption_text import CAPTION_SUFFIXES, MAX_CAPTION_BYTES, caption_in
from .notices import Notices
from .source_video import SourceVideo

_Caption = str | InputError
_Captions = dict[str, _Caption]  # by suffix


def list_shard(
    archive: Path, name: str, suffixes: Collection[str], notices: Notices
) -> Iterator[SourceVideo]:
    """List the videos of a shard with the captions of equal names.

    Names are compared without their last suffix, as dots may be part of them. WebDataset compares
    them up to the first dot: a caption without such a video goes to one of the same name up to
    there, as `a.caption.txt` to `a.video.mp4`.

    Args:
        archive: the tar file.
        name: of the shard in the manifest.
        suffixes: suffixes of videos, in lower case.
        notices: gets the captions that belong to no video.
    """
    videos: list[tuple[str, Member]] = []
    captions: dict[str, _Captions] = {}
    damage = ""
    try:
        for member in list_members(archive):
            key, suffix = splitext(member.name)
            if basename(member.name).startswith("."):  # metadata of macOS
                continue
            if suffix.lower() in suffixes:
                videos.append((key, member))
            elif suffix.lower() in CAPTION_SUFFIXES and member.error != TRUNCATED:
                caption = _read_caption(archive, member, suffix.lower())
                captions.setdefault(key, {}).setdefault(suffix.lower(), caption)
    except InputError as error:  # only the rest of this shard is lost
        damage = str(error)
    partners = find_partners({key for key, _ in videos}, set(captions))
    for key in sorted(captions.keys() - partners.values()):
        notices.add("captions that belong to no video", f"{name}/{as_unicode(key)}")
    for key, member in videos:
        caption = _first_caption(captions.get(partners.get(key, ""), {}))
        yield _video(archive, f"{name}/{as_unicode(member.name)}", member, caption)
    if damage:
        yield SourceVideo(name, str(archive.absolute()), error=damage)


def find_partners(videos: set[str], captions: set[str]) -> dict[str, str]:
    """Return the key of the caption for each key of a video that has one.

    Args:
        videos: names of videos in a shard without their last suffix.
        captions: likewise.
    """
    found = {key: key for key in videos & captions}
    free: defaultdict[str, list[str]] = defaultdict(list)
    for key in captions - videos:
        free[_sample(key)].append(key)
    for key in videos - captions:
        others = free.get(_sample(key), [])
        if len(others) == 1:  # of several, none is certain
            found[key] = others[0]
    return found


def _sample(key: str) -> str:
    """Return a key without further suffixes of letters: "k2" of "k2.video", but not of "k2.5"."""
    start, dot, suffix = key.rpartition(".")
    return _sample(start) if dot and suffix.isalpha() and basename(start) else key


def _read_caption(archive: Path, member: Member, suffix: str) -> _Caption:
    try:
        return caption_in(read_member(archive, member, MAX_CAPTION_BYTES), suffix, member.name)
    except InputError as error:
        return error


def _first_caption(captions: _Captions) -> _Caption:
    found = (captions.get(suffix, "") for suffix in CAPTION_SUFFIXES)
    return next((caption for caption in found if caption), "")


def _video(archive: Path, name: str, member: Member, caption: _Caption) -> SourceVideo:
    path = str(archive.absolute())
    reason = f"{name} {member.error}" if member.error else ""
    if not reason and isinstance(caption, InputError):
        reason = str(caption)
    if reason:
        return SourceVideo(name, path, offset=member.offset, size=member.size, error=reason)
    return SourceVideo(name, path, str(caption), member.offset, member.size)
