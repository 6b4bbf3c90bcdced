"""Digests of the content of images: of the bytes that are read, and of the frames."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_aa.distortions.rng import hashes
from robustbench_aa.types import Batch

READ_AT_ONCE = 256
"""Images whose files are read at once."""


def digest(content: bytes) -> int:
    """Return a 64-bit digest of bytes."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little")


def of_pixels(images: Iterable[Tensor]) -> np.ndarray:
    """Return a digest of each image's pixels, [B] uint64, for images without a file each."""
    return np.array([digest(image.cpu().numpy().tobytes()) for image in images], dtype=np.uint64)


def of_frames(frames: Tensor) -> np.ndarray:
    """Return a digest of the frames of each image, the same on every device.

    Eight bytes are a word, and the digest is the sum modulo 2⁶⁴ of the words times fixed odd
    numbers. Frames that differ in one word have different digests; others almost surely.

    Args:
        frames: [B, F, 3, H, W], uint8.

    Returns:
        [B] int64.
    """
    flat = frames.reshape(len(frames), -1)
    if missing := -flat.shape[1] % 8:
        flat = F.pad(flat, (0, missing))
    words = flat.contiguous().view(torch.int64)
    odd = _odd(words.shape[1], frames.device)
    if frames.device.type == "cpu":  # NumPy is thirty times as fast as torch
        sums: np.ndarray = np.einsum("bw,w->b", words.numpy(), odd.numpy())
        return sums
    return (words * odd).sum(1).cpu().numpy()


@lru_cache(maxsize=8)
def _odd(count: int, device: torch.device) -> Tensor:
    return hashes(torch.zeros(1, 1, dtype=torch.int64, device=device), 1, count + 1)[0] | 1


def stamp(files: Iterable[str | Path]) -> str:
    """Return the SHA-256 of the sizes and modification times of files; empty for no files.

    A missing file is included as well.
    """
    states = []
    for file in files:
        try:
            # half the time of Path.stat, which counts when a run of millions of files continues
            found = os.stat(file)  # noqa: PTH116
            states.append(f"{found.st_size} {found.st_mtime_ns}")
        except OSError:
            states.append("gone")
    return hashlib.sha256("\n".join(states).encode()).hexdigest() if states else ""


class Digest:
    """A digest of a shard's images, computed batch by batch in their order."""

    def __init__(self) -> None:
        self._sources, self._frames = hashlib.sha256(), hashlib.sha256()

    def add(self, sources: np.ndarray) -> None:
        """Add the digests of the bytes that a batch's images were read from, [B] uint64."""
        self._sources.update(sources.astype("<u8").tobytes())

    def add_batch(self, batch: Batch) -> None:
        """Add the images of a batch: the bytes they were read from and their frames."""
        frames = of_frames(batch.frames)
        self._frames.update(frames.astype("<i8").tobytes())
        self.add(frames.view(np.uint64) if batch.sources is None else batch.sources)

    @property
    def sources(self) -> str:
        """The SHA-256 of the bytes that the images were read from."""
        return self._sources.hexdigest()

    @property
    def frames(self) -> str:
        """The SHA-256 of the frames."""
        return self._frames.hexdigest()


def sources_of(
    read: Callable[[np.ndarray], tuple[object, object, np.ndarray]], index: np.ndarray
) -> str:
    """Return `Digest.sources` of images without making their frames.

    Args:
        read: index → (images, labels, digests of the bytes that each was read from, [B] uint64).
        index: [images], int64.
    """
    found = Digest()
    for start in range(0, len(index), READ_AT_ONCE):
        found.add(read(index[start : start + READ_AT_ONCE])[2])
    return found.sources
