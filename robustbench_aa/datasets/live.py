"""Data sets whose distorted frames are computed from clean images as they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustbench_aa import distortions
from robustbench_aa.datasets.dataset import copied
from robustbench_aa.distortions.corruptions.jpeg import STORED_QUALITY, through_jpeg
from robustbench_aa.profile import stage
from robustbench_aa.types import Batch, Distortion, Shard

Clean = tuple[Tensor | list[Tensor], Tensor]
"""Images, [B, 3, H, W] uint8 or [3, H, W] each, and their labels, [B] int64."""


@dataclass(frozen=True)
class LiveDataset:
    """Clean images and the distortions that are applied to them on the device.

    Attributes:
        name, classes, size, distortions, missing, geometry: as in `Dataset`.
        index: [images], int64: which images of the whole data set are measured.
        clean: index → images, as large as the distortions need them, and labels.
        clean_sha256: of the clean images and labels.
        seed: of the distortions' randomness.
        backend: what corrupts, as in `Request`.
        stored_jpeg: as in `Request`.
    """

    name: str
    classes: int
    size: int
    distortions: tuple[Distortion, ...]
    index: np.ndarray
    clean: Callable[[np.ndarray], Clean]
    clean_sha256: str
    seed: int
    backend: str = "torch"
    stored_jpeg: bool = False
    geometry: str = "as they are"
    missing: Mapping[Distortion, Path] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many images are measured."""
        return len(self.index)

    @property
    def sha256(self) -> str:
        """Of the clean images, of which of them are measured, and of the distortions' code."""
        how = f"{_distortions_sha256()} {self.backend} {self.stored_jpeg} {self.geometry}"
        digest = hashlib.sha256(f"{self.clean_sha256} {how}".encode())
        digest.update(self.index.astype("<i8").tobytes())
        return digest.hexdigest()

    def frames(self, distortion: Distortion) -> int:
        """How many frames an image has under a distortion."""
        return distortions.frames(distortion, self.size)

    def read(
        self, distortion: Distortion, shard: Shard, batch_size: int, device: torch.device
    ) -> Iterator[Batch]:
        """The images of a shard under a distortion, about `batch_size` frames at a time."""
        step = max(1, batch_size // self.frames(distortion))
        for start in range(shard.start, shard.stop, step):
            index = self.index[start : min(start + step, shard.stop)]
            with stage("decode"):
                images, labels = self.clean(index)
            with stage("copy"):
                there = _on(images, device)
            with stage("distort"):
                frames = distortions.distort(
                    there, distortion, index, self.seed, self.size, self.backend
                )
                if self.stored_jpeg and distortion.severity is not None:
                    frames = through_jpeg(frames.squeeze(1), STORED_QUALITY).unsqueeze(1)
            yield Batch(distortion, index, labels.numpy(), frames)


def _on(images: Tensor | list[Tensor], device: torch.device) -> Tensor | list[Tensor]:
    if isinstance(images, Tensor):
        return copied(images, device)
    return [copied(image, device) for image in images]


def spread(images: int, limit: int | None) -> np.ndarray:
    """At most `limit` of `images` positions, evenly spread so that no class is favoured.

    >>> spread(10, 4)
    array([0, 2, 5, 7])
    """
    count = images if limit is None else min(limit, images)
    return np.arange(count) * images // count


@cache
def _distortions_sha256() -> str:
    """Of the source of all distortions: pixels made by other code are other data."""
    folder = Path(distortions.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
