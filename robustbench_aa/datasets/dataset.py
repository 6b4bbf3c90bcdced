"""What a data set is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from robustbench_aa.types import Batch, Distortion, Shard


class Dataset(Protocol):
    """Images under distortions, read shard by shard."""

    @property
    def name(self) -> str:
        """As the command line calls it."""

    @property
    def classes(self) -> int:
        """How many classes there are."""

    @property
    def size(self) -> int:
        """Height and width of a frame, in pixels."""

    @property
    def images(self) -> int:
        """How many images are measured; positions 0 … images − 1 are divided into shards."""

    @property
    def distortions(self) -> tuple[Distortion, ...]:
        """All that the data set defines, in the order of the reports."""

    @property
    def sha256(self) -> str:
        """Of all that predictions depend on: pixels, labels, which images, how distorted."""

    def frames(self, distortion: Distortion) -> int:
        """How many frames an image has under a distortion."""

    def read(
        self, distortion: Distortion, shard: Shard, batch_size: int, device: torch.device
    ) -> Iterator[Batch]:
        """The images of a shard under a distortion, about `batch_size` frames at a time."""
