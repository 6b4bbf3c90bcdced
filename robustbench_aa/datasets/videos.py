"""Sequences in video files: finding, decoding and writing them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter
from torch import Tensor

from robustbench_aa.errors import DatasetError, cause

SUFFIX = ".mp4"


def decode_video(path: Path, size: int, frames: int | None = None) -> Tensor:
    """The middles of a video's frames, [F, 3, size, size] uint8 RGB.

    Args:
        frames: how many there should be; None for any number.

    Raises:
        DatasetError: it is missing, truncated, no video, too small, or of another length; names
            it.
    """
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise DatasetError(f"{path} has no video in it; fetch it again")
            convert = VideoReformatter().reformat  # one for all frames: it keeps its tables
            pictures = [
                convert(frame, format="rgb24", interpolation=Interpolation.BICUBIC).to_ndarray()
                for frame in container.decode(video=0)
            ]
    except (OSError, ValueError, av.FFmpegError) as error:
        raise DatasetError(f"{path} cannot be read ({cause(error)}); fetch it again") from error
    if not pictures or (frames is not None and len(pictures) != frames):
        expected = "at least one" if frames is None else str(frames)
        raise DatasetError(f"{path} has {len(pictures)} frames, not {expected}; fetch it again")
    height, width = pictures[0].shape[:2]
    if min(height, width) < size:
        raise DatasetError(f"{path} is {width}×{height} px, smaller than {size}×{size}")
    top, left = round((height - size) / 2), round((width - size) / 2)
    middles = np.stack([p[top : top + size, left : left + size] for p in pictures])
    return torch.from_numpy(middles).permute(0, 3, 1, 2).contiguous()


def encode_video(frames: Tensor, path: Path, options: dict[str, str]) -> None:
    """Writes frames [F, 3, H, W] uint8 as an H.264 video of one frame a second.

    Args:
        options: of libx264, such as its preset.
    """
    pictures = frames.permute(0, 2, 3, 1).cpu().numpy()
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(1), options=options)
        stream.height, stream.width = frames.shape[-2:]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
