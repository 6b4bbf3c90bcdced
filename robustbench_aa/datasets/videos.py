"""Sequences in video files: decode and write them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from importlib import import_module
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.datasets.pictures import content_of
from robustbench_aa.errors import DatasetError, cause
from robustbench_aa.support.optional import extra

SUFFIX = ".mp4"
PIXEL_FORMAT = "yuv444p"
"""The format of the released videos, with full chroma resolution: FFmpeg's choice for RGB."""
LONGEST = 1000
"""The largest number of frames of a sequence, if no number is expected."""
LARGEST = 2**22
"""The largest number of pixels of a frame, 2048 × 2048; a decoder keeps many frames."""
LIMITS = {"max_pixels": str(LARGEST), "protocol_whitelist": "file"}
"""Options that limit decoders, and that stop a file from making FFmpeg open other files."""


def require_video() -> Any:
    """Import PyAV, which the extra `video` installs, and return it.

    Raises:
        UsageError: it is not installed.
    """
    return extra("av", "video")


def decode_video(path: Path, size: int, frames: int | None = None) -> Tensor:
    """Return the middles of a video's frames, [F, 3, size, size] uint8 RGB.

    Args:
        path: the file.
        size: height and width of the middles, in pixels.
        frames: the expected number of frames; None for any number.

    Raises:
        DatasetError: the file is missing, truncated, not a video, too small, too large, or of
            another length.
    """
    return decode_content(content_of(path), path, size, frames)


def decode_content(content: bytes, path: Path, size: int, frames: int | None = None) -> Tensor:
    """Decode a video like `decode_video`, from content that was read from `path`."""
    require_video()
    most = LONGEST if frames is None else frames
    try:
        middles = list(islice(_middles(content, path, size), most + 1))
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # FFmpeg raises many types
        raise DatasetError(f"{path} cannot be read ({cause(error)}); fetch it again") from error
    if not middles or len(middles) > most or len(middles) != (frames or len(middles)):
        expected = f"1 to {LONGEST}" if frames is None else str(frames)
        found = f"more than {most}" if len(middles) > most else str(len(middles))
        raise DatasetError(f"{path} has {found} frames, not {expected}; fetch it again")
    return torch.from_numpy(np.stack(middles)).permute(0, 3, 1, 2).contiguous()


def _middles(content: bytes, path: Path, size: int) -> Iterator[np.ndarray]:
    """Yield the middle of each frame, [size, size, 3], as it is decoded."""
    av, reformatter = require_video(), import_module("av.video.reformatter")
    # without a format, FFmpeg could take the content for a list of other files to open
    with av.open(BytesIO(content), "r", format="mp4", options=LIMITS) as container:
        if not container.streams.video:
            raise DatasetError(f"{path} has no video in it; fetch it again")
        container.streams.video[0].codec_context.options = LIMITS
        convert = (
            reformatter.VideoReformatter().reformat
        )  # one for all frames, because it keeps tables
        bicubic = reformatter.Interpolation.BICUBIC
        for frame in container.decode(video=0):
            height, width = frame.height, frame.width
            if min(height, width) < size:
                raise DatasetError(f"{path} is {width}×{height} px, smaller than {size}×{size}")
            if height * width > LARGEST:
                raise DatasetError(f"{path} is {width}×{height} px, more than {LARGEST:,} pixels")
            picture = convert(frame, format="rgb24", interpolation=bicubic)
            top, left = round((height - size) / 2), round((width - size) / 2)
            yield picture.to_ndarray()[top : top + size, left : left + size].copy()


def encode_video(
    frames: Tensor, path: Path, options: dict[str, str], pixel_format: str = PIXEL_FORMAT
) -> None:
    """Write frames as an H.264 video of one frame a second.

    Args:
        frames: [F, 3, H, W], uint8, RGB.
        path: the file to write.
        options: options of libx264, such as its preset.
        pixel_format: FFmpeg's name of the pixel format.
    """
    av = require_video()
    pictures = frames.permute(0, 2, 3, 1).cpu().numpy()
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(1), options=options)
        stream.height, stream.width = frames.shape[-2:]
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
