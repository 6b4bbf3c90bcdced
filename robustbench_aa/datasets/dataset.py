"""What a data set is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from robustbench_aa.datasets.labels import Labels
from robustbench_aa.datasets.pictures import Geometry, cores
from robustbench_aa.types import Batch, Distortion, Shard


@dataclass(frozen=True)
class Request:
    """Which part of a data set is wanted, from where, and how it is to be distorted.

    Attributes:
        limit: at most this many images, evenly spread over the whole; None for all.
        seed: of the distortions' randomness.
        data_dir: where the files are; None for the data set's environment variable.
        classes: how many classes there are, where class folders are numbers with gaps: the
            numbers are then the labels. None where the folders say it themselves.
        backend: what corrupts clean images, `torch` or `imagecorruptions`.
        geometry: which square of a photograph is seen; None for that of ImageNet-C's making.
        stored_jpeg: whether corrupted photographs go through a JPEG file of quality 85 at last,
            as the published ones did.
        workers: threads that decode files.
    """

    limit: int | None = None
    seed: int = 0
    data_dir: str | None = None
    classes: int | None = None
    backend: str = "torch"
    geometry: Geometry | None = None
    stored_jpeg: bool = True
    workers: int = field(default_factory=cores)


class Dataset(Protocol):
    """Images under distortions, read shard by shard."""

    @property
    def name(self) -> str:
        """As the command line calls it."""

    @property
    def classes(self) -> int:
        """How many classes there are."""

    @property
    def labels(self) -> Labels:
        """How the images are labelled."""

    @property
    def collection(self) -> str:
        """Which images these are of, such as `digits`; one leaderboard has those of one."""

    @property
    def pixels(self) -> str:
        """What makes the pixels of distorted images: `files`, or the code that distorts."""

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
    def missing(self) -> Mapping[Distortion, Path]:
        """The distortions whose files are not there, and what is not."""

    @property
    def geometry(self) -> str:
        """Which square of a picture is seen, in words."""

    @property
    def sha256(self) -> str:
        """Of all that predictions depend on: pixels, labels, which images, how distorted."""

    def stamp(self, distortion: Distortion, shard: Shard) -> str:
        """SHA-256 of the sizes and times of a shard's files; empty where there are none."""

    def sources(self, distortion: Distortion, shard: Shard) -> str:
        """SHA-256 of what a shard's images are read from, as `content.Digest` computes it.

        Raises:
            DatasetError: files cannot be read.
        """

    def frames(self, distortion: Distortion) -> int:
        """How many frames an image has under a distortion."""

    def read(
        self, distortion: Distortion, shard: Shard, batch_size: int, device: torch.device
    ) -> Iterator[Batch]:
        """The images of a shard under a distortion, about `batch_size` frames at a time."""


def copied(images: Tensor, device: torch.device) -> Tensor:
    """Images on a device; a GPU fetches them itself, from memory that cannot be paged out."""
    if device.type != "cuda":
        return images.to(device)
    return images.pin_memory().to(device, non_blocking=True)
