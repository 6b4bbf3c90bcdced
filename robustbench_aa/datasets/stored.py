"""Data sets whose distorted frames were made once and are read from files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.datasets.dataset import Request
from robustbench_aa.errors import UsageError
from robustbench_aa.types import Batch, Distortion, Shard


@dataclass(frozen=True)
class StoredDataset:
    """Distorted images in files.

    Attributes:
        name, classes, size, distortions, missing, geometry, sha256: as in `Dataset`.
        index: [images], int64: which images of the whole data set are measured.
        stored: (distortion, index) → (images [B, 3, size, size] uint8, labels [B] int64).
    """

    name: str
    classes: int
    size: int
    distortions: tuple[Distortion, ...]
    missing: Mapping[Distortion, Path]
    geometry: str
    sha256: str
    index: np.ndarray
    stored: Callable[[Distortion, np.ndarray], tuple[Tensor, Tensor]]

    @property
    def images(self) -> int:
        """How many images are measured."""
        return len(self.index)

    def frames(self, _distortion: Distortion) -> int:
        """One: the files are still pictures."""
        return 1

    def read(
        self, distortion: Distortion, shard: Shard, batch_size: int, device: torch.device
    ) -> Iterator[Batch]:
        """The images of a shard under a distortion, `batch_size` at a time.

        Raises:
            DatasetError: a file is missing or cannot be read; names it.
        """
        for start in range(shard.start, shard.stop, batch_size):
            index = self.index[start : min(start + batch_size, shard.stop)]
            images, labels = self.stored(distortion, index)
            yield Batch(distortion, index, labels.numpy(), images.unsqueeze(1).to(device))


def data_dir(request: Request, name: str, variable: str) -> Path:
    """The folder of a data set's files.

    Raises:
        UsageError: neither the request nor the environment names one, or it is not there.
    """
    named = request.data_dir or os.environ.get(variable)
    if not named:
        raise UsageError(f"{name} needs its files; name their folder by --data-dir or {variable}")
    folder = Path(named)
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; check --data-dir")
    return folder
