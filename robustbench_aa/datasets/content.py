"""The content of images: digests of the bytes that they are read from, and of what models see."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_aa.distortions.draws import hashes


def digest(content: bytes) -> int:
    """Return a digest of some bytes, 64 bits."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def of_pixels(images: Iterable[Tensor]) -> np.ndarray:
    """Return a digest of each image's pixels, [B] uint64, for images without files of their own."""
    return np.array([digest(image.cpu().numpy().tobytes()) for image in images], dtype=np.uint64)


def of_frames(frames: Tensor) -> np.ndarray:
    """Return a digest of the frames of each image, the same on every device.

    Eight pixels are a word; the words' products with fixed odd numbers are added up modulo 2⁶⁴, so
    that frames which differ in one word have different digests, and others almost surely.

    Args:
        frames: [B, F, 3, H, W], uint8.

    Returns:
        [B] int64.
    """
    flat = frames.reshape(len(frames), -1)
    words = F.pad(flat, (0, -flat.shape[1] % 8)).contiguous().view(torch.int64)
    return (words * _odd(words.shape[1], frames.device)).sum(1).cpu().numpy()


@lru_cache(maxsize=8)
def _odd(count: int, device: torch.device) -> Tensor:
    return hashes(torch.zeros(1, 1, dtype=torch.int64, device=device), 1, count + 1)[0] | 1


def stamp(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the sizes and times of files: equal where none has been written again.

    A file that is gone is part of it as well. Empty for no files.
    """
    told = []
    for file in files:
        try:
            of = file.stat()
            told.append(f"{of.st_size} {of.st_mtime_ns}")
        except OSError:
            told.append("gone")
    return hashlib.sha256("\n".join(told).encode()).hexdigest() if told else ""


class Digest:
    """The content of a shard's images, put together batch by batch in their order."""

    def __init__(self) -> None:
        self._sources, self._frames = hashlib.sha256(), hashlib.sha256()

    def add(self, sources: np.ndarray, frames: Tensor | None = None) -> None:
        """Add the images of a batch: their sources' digests and what models see of them."""
        self._sources.update(sources.astype("<u8").tobytes())
        if frames is not None:
            self._frames.update(of_frames(frames).astype("<i8").tobytes())

    @property
    def sources(self) -> str:
        """SHA-256 of what the images were read from."""
        return self._sources.hexdigest()

    @property
    def frames(self) -> str:
        """SHA-256 of what the models saw."""
        return self._frames.hexdigest()
