"""The frames of any video, at the size of a model."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.datasets.videos import LIMITS, require_video
from robustbench_aa.errors import DatasetError, UnknownName, UsageError, cause

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "matroska",
    ".avi": "avi",
}
"""FFmpeg's name of the format of a file, by suffix. FFmpeg does not guess: it could take the
content for a list of other files to open."""
LARGEST = 8192 * 4320
"""The largest number of pixels of a frame."""


class Clip(NamedTuple):
    """Frames of a video.

    Attributes:
        frames: [F, 3, size, size], uint8 RGB.
        seconds: the time of each frame.
        cut: whether the video has more frames than were asked for.
    """

    frames: Tensor
    seconds: list[float]
    cut: bool


def read_clip(path: Path, size: int, shorter: int, limit: int, every: int = 1) -> Clip:
    """Read the middles of the resized frames of a video.

    Args:
        path: the file. Its suffix is one of `CONTAINERS`.
        size: height and width of the middles, in pixels.
        shorter: length of the shorter side after bicubic resizing, in pixels; at least `size`.
        limit: the largest number of frames.
        every: every how manieth frame is read, from the first one on.

    Raises:
        UsageError: there is no such file, or PyAV is not installed.
        UnknownName: the suffix is not known.
        DatasetError: the file is not a video, is damaged, or its frames are too large.
    """
    require_video()
    if path.suffix.lower() not in CONTAINERS:
        raise UnknownName(f"suffix of the video {path}", path.suffix, CONTAINERS)
    if not path.is_file():
        raise UsageError(f"there is no video {path}; check the path")
    try:
        decoded = _decoded(path, size, shorter)
        chosen = list(islice(decoded, 0, limit * every + 1, every))
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # FFmpeg raises many types
        raise DatasetError(f"{path} cannot be decoded ({cause(error)}); encode it again") from error
    if not chosen:
        raise DatasetError(f"{path} has no frames; encode it again")
    seconds, frames = zip(*chosen[:limit], strict=True)
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
    return Clip(pixels, list(seconds), len(chosen) > limit)


def _decoded(path: Path, size: int, shorter: int) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the time of each frame, in seconds, and its middle [size, size, 3]."""
    av, reformatter = require_video(), import_module("av.video.reformatter")
    kind = CONTAINERS[path.suffix.lower()]
    options = LIMITS | {"max_pixels": str(LARGEST)}
    with path.open("rb") as file, av.open(file, "r", format=kind, options=options) as container:
        if not container.streams.video:
            raise DatasetError(f"{path} has no video in it; choose another file")
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 1)
        scaler = reformatter.VideoReformatter()
        bicubic = reformatter.Interpolation.BICUBIC
        for place, frame in enumerate(container.decode(stream)):
            scale = shorter / min(frame.width, frame.height)
            width, height = (max(shorter, round(scale * n)) for n in (frame.width, frame.height))
            picture = scaler.reformat(frame, width, height, "rgb24", interpolation=bicubic)
            pixels = _upright(picture.to_ndarray(), frame)
            top, left = ((length - size) // 2 for length in pixels.shape[:2])
            seconds = place / rate if frame.time is None else float(frame.time)
            yield seconds, pixels[top : top + size, left : left + size].copy()


def _upright(pixels: np.ndarray, frame: Any) -> np.ndarray:
    """Return pixels turned as the video asks for: telephones store pictures as the sensor lies."""
    return np.rot90(pixels, round(getattr(frame, "rotation", 0) / 90))
