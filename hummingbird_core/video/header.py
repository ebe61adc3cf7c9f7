"""Facts about a video that its container states, read with PyAV.

ffmpeg's log states them too, but mixed with the file's own texts: a title can read like a header.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer

# Other formats, such as a playlist named like a video, could make ffmpeg open further files.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf,mpegvideo,ogg,gif,webp_pipe"
)
# Used with absolute paths, so that no name can look like an option or a protocol. Only files are
# opened, because a playlist disguised as a video may name addresses.
SAFE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}


@dataclass(frozen=True)
class VideoHeader:
    """Facts about a video.

    Attributes:
        fps: average number of frames per second; 0 if it is not stated.
        duration: of the longest stream, seconds; None if it is not stated.
        pixel_aspect: width of a pixel divided by its height.
    """

    fps: float
    duration: float | None
    pixel_aspect: float


def read_header(path: Path) -> VideoHeader | None:
    """Read the facts about the video stream of a file; None if it has no video stream.

    Raises:
        OSError or ValueError: FFmpeg cannot read the file.
    """
    with open_container(path) as container:
        stream = video_stream(container)
        if stream is None:
            return None
        rate = stream.average_rate or stream.guessed_rate
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
        return VideoHeader(
            fps=float(rate or 0),
            duration=container.duration / 1e6 if container.duration else None,  # microseconds
            pixel_aspect=float(aspect or 1),
        )


def open_container(path: Path) -> InputContainer:
    """Open a file for FFmpeg's demuxers; texts in it may be in any encoding."""
    import av

    # PyAV 19 keeps texts that are not UTF-8; before, it refuses their files unless it may replace.
    is_strict = int(av.__version__.partition(".")[0]) < 19
    texts: dict[str, Any] = {"metadata_errors": "replace"} if is_strict else {}
    # Not `options`: up to PyAV 16, those crash the process on formats without a list of streams.
    return av.open(str(path.absolute()), container_options=dict(SAFE_OPTIONS), **texts)


def video_stream(container: InputContainer) -> Any:
    """Return the stream that ffmpeg decodes, the largest that is no cover; None without any."""
    streams = [stream for stream in container.streams.video if stream.codec_context]
    return max(streams, key=_rank, default=None)


def _rank(stream: Any) -> tuple[bool, int]:
    from av.stream import Disposition

    is_cover = Disposition.attached_pic in stream.disposition
    return not is_cover, stream.codec_context.width * stream.codec_context.height
