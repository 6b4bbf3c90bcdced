"""Data sets whose distorted frames are read from files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.datasets.content import sources_of, stamp
from robustbench_aa.datasets.dataset import copied
from robustbench_aa.datasets.labels import PLAIN, Labels, Scoring
from robustbench_aa.datasets.pictures import read_naming_all
from robustbench_aa.support.stage_times import stage
from robustbench_aa.types import Batch, Distortion, Shard


@dataclass(frozen=True)
class StoredDataset:
    """Distorted images in files.

    Attributes:
        name, classes, size, distortions, missing, geometry, labels, collection: as in `Dataset`.
        files_sha256: the SHA-256 of the files' names and sizes, or of their content.
        index: [images], int64, the positions of the selected images in the whole data set.
        stored: (distortion, index) → (images [B, 3, size, size] or sequences
            [B, F, 3, size, size] uint8, labels [B] int64, digests of the bytes that each was read
            from [B] uint64).
        files: (distortion, index) → the files that images are read from.
        lengths: the number of frames of an image, if it is not one.
        pixels, scoring: as in `Dataset`.
        listed: as in `Request`.
    """

    name: str
    classes: int
    size: int
    distortions: tuple[Distortion, ...]
    missing: Mapping[Distortion, Path]
    geometry: str
    files_sha256: str
    labels: Labels
    collection: str
    index: np.ndarray
    stored: Callable[[Distortion, np.ndarray], tuple[Tensor, Tensor, np.ndarray]]
    files: Callable[[Distortion, np.ndarray], Sequence[str | Path]]
    lengths: Mapping[Distortion, int] = field(default_factory=dict)
    pixels: str = "files"
    scoring: Scoring = PLAIN
    listed: str = ""

    @property
    def images(self) -> int:
        """The number of selected images."""
        return len(self.index)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the files and of the selection of images."""
        digest = hashlib.sha256(self.files_sha256.encode())
        digest.update(self.index.astype("<i8").tobytes())
        return digest.hexdigest()

    def frames(self, distortion: Distortion) -> int:
        """Return how many frames an image has under a distortion."""
        return self.lengths.get(distortion, 1)

    def read(
        self, distortion: Distortion, shard: Shard, batch_size: int, device: torch.device
    ) -> Iterator[Batch]:
        """Yield the images of a shard under a distortion, about `batch_size` frames at a time.

        Raises:
            DatasetError: files are missing or cannot be read; the message lists those of the whole
                shard.
        """
        step = max(1, batch_size // self.frames(distortion))
        read = partial(self.stored, distortion)
        for start in range(shard.start, shard.stop, step):
            index = self.index[start : min(start + step, shard.stop)]
            with stage("decode"):
                later = self.index[start + step : shard.stop]
                images, labels, sources = read_naming_all(read, index, later)
            with stage("copy"):
                frames = copied(images, device)
            if frames.dim() == 4:
                frames = frames.unsqueeze(1)
            yield Batch(distortion, index, labels.numpy(), frames, sources)

    def stamp(self, distortion: Distortion, shard: Shard) -> str:
        """Return the SHA-256 of the sizes and times of a shard's files."""
        return stamp(self.files(distortion, self.index[slice(*shard)]))

    def sources(self, distortion: Distortion, shard: Shard) -> str:
        """Return the SHA-256 of the bytes that a shard's images are read from."""
        return sources_of(partial(self.stored, distortion), self.index[slice(*shard)])


def as_stored(distortion: Distortion) -> Distortion:
    """Return a distortion whose pixels come from files, without version and source."""
    return replace(distortion, version=None, source="")
