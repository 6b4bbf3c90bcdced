"""The content of images: digests of the bytes that they are read from, and of what models see."""

from __future__ import annotations

import hashlib
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
"""Images whose files are compared at a time."""


def digest(content: bytes) -> int:
    """Return a digest of some bytes, 64 bits."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little")


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
    if missing := -flat.shape[1] % 8:
        flat = F.pad(flat, (0, missing))
    words = flat.contiguous().view(torch.int64)
    odd = _odd(words.shape[1], frames.device)
    if frames.device.type == "cpu":  # NumPy adds up thirty times as fast as torch
        sums: np.ndarray = np.einsum("bw,w->b", words.numpy(), odd.numpy())
        return sums
    return (words * odd).sum(1).cpu().numpy()


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

    def add(self, sources: np.ndarray) -> None:
        """Add what the images of a batch were read from, [B] uint64."""
        self._sources.update(sources.astype("<u8").tobytes())

    def add_batch(self, batch: Batch) -> None:
        """Add the images of a batch: what they were read from and what models see of them."""
        frames = of_frames(batch.frames)
        self._frames.update(frames.astype("<i8").tobytes())
        self.add(frames.view(np.uint64) if batch.sources is None else batch.sources)

    @property
    def sources(self) -> str:
        """SHA-256 of what the images were read from."""
        return self._sources.hexdigest()

    @property
    def frames(self) -> str:
        """SHA-256 of what the models saw."""
        return self._frames.hexdigest()


def sources_of(
    read: Callable[[np.ndarray], tuple[object, object, np.ndarray]], index: np.ndarray
) -> str:
    """Return the SHA-256 of what images are read from, as a `Digest` of their batches has it.

    Args:
        read: index → (images, labels, digests of what each was read from, [B] uint64).
        index: [images], int64.
    """
    found = Digest()
    for start in range(0, len(index), READ_AT_ONCE):
        found.add(read(index[start : start + READ_AT_ONCE])[2])
    return found.sources
