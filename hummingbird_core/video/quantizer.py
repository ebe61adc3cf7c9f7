"""Read how coarsely an encoder quantized a video, which its decoded pictures do not show.

H.264 smooths the blocks of a starved video, and the blur that remains is that of a soft film. The
quantizer is in the stream, on the scale of H.264 (0 finest, 51 coarsest); FFmpeg gives it for
H.264, MPEG-2 and MPEG-4 part 2. Of a video that was encoded a second time, it is the second
encoder's.
"""

from __future__ import annotations

import math
import struct
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .header import open_container, video_stream

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

KEY_FRAMES = 16  # read at most
# AVVideoEncParams of FFmpeg: nb_blocks, blocks_offset, block_size, type, qp
_PARAMETERS = "@INNii"
_BLOCK_OFFSET = 16  # bytes of AVVideoBlockParams (src_x, src_y, w, h) before delta_qp
_H264, _MPEG2 = 1, 2  # AVVideoEncParamsType


def key_frame_quantizer(path: Path) -> float | None:
    """Return the mean quantizer of a video's first key frames, on H.264's scale.

    Args:
        path: the video file.

    Returns:
        0 to 51; None if the format does not give it, or the file cannot be read.
    """
    import av

    found: list[float] = []
    try:
        with open_container(path) as container:
            stream = video_stream(container)
            if stream is None:
                return None
            stream.codec_context.options = {"export_side_data": "venc_params"}
            stream.codec_context.skip_frame = "NONKEY"
            for frame in islice(container.decode(stream), KEY_FRAMES):
                if (value := _quantizer(frame)) is None:  # of this format, no frame gives it
                    break
                found.append(value)
    except (av.FFmpegError, OSError, ValueError):  # the frames are judged by who reads them all
        return None
    return float(np.mean(found)) if found else None


def _quantizer(frame: VideoFrame) -> float | None:
    parameters: Any = frame.side_data.get("VIDEO_ENC_PARAMS")
    if parameters is None:
        return None
    data = bytes(parameters)
    blocks, offset, size, scale, base = struct.unpack_from(_PARAMETERS, data)
    place = {"buffer": data, "offset": offset + _BLOCK_OFFSET, "strides": (size,)}
    mean = base + (float(np.ndarray(blocks, np.int32, **place).mean()) if blocks else 0.0)
    if scale == _H264:
        # With more bits a sample the scale begins below 0 (ITU-T H.264, 7.4.2.1.1): FFmpeg adds
        # 6 for each of them.
        return mean - 6 * (frame.format.components[0].bits - 8)
    if scale == _MPEG2:
        # FFmpeg gives twice the quantizer q of MPEG-4; x264 takes q = 0.85 * 2^((QP - 12) / 6).
        return 12 + 6 * math.log2(mean / 2 / 0.85)
    return None
