"""The interface of a data set, and the request to open one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.datasets.image_lists import ImageList
from robustbench_aa.datasets.labels import Labels, Scoring
from robustbench_aa.datasets.pictures import Geometry, cores
from robustbench_aa.support.checks import whole_number
from robustbench_aa.types import Batch, Distortion, Shard


@dataclass(frozen=True)
class Request:
    """The part of a data set to open, its folder, and how to distort it.

    Attributes:
        limit: at most this many images, evenly spread over the data set; None for all.
        seed: the seed of the distortions.
        data_dir: the folder of the files; None for the data set's environment variable.
        classes: the number of classes, if class folders are numbers with gaps; the numbers are
            then the labels. None if the folders show the number of classes.
        backend: the code that corrupts clean images, `torch` or `imagecorruptions`.
        geometry: the square of a photograph that models see; None for the one that ImageNet-C
            was made with.
        stored_jpeg: whether corrupted photographs are finally stored as JPEG of quality 85, as the
            published ones were.
        workers: the number of threads that decode files.
        images: the images to open; None for all. A limit is spread over these.
        unlabelled: whether the pictures have no labels, so that their folders do not matter.

    Raises:
        UsageError: the limit is not a positive whole number.
    """

    limit: int | None = None
    seed: int = 0
    data_dir: str | None = None
    classes: int | None = None
    backend: str = "torch"
    geometry: Geometry | None = None
    stored_jpeg: bool = True
    workers: int = field(default_factory=cores)
    images: ImageList | None = None
    unlabelled: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None:
            whole_number("limit", self.limit, least=1)

    @property
    def listed(self) -> str:
        """The SHA-256 of the list of images; empty for all images."""
        return self.images.sha256 if self.images else ""

    def selected(
        self, dataset: str, files: Sequence[Path], others: Iterable[Path] = ()
    ) -> np.ndarray:
        """Return the positions of the images to open among the files of a data set, [M] int64.

        Args:
            dataset, files, others: as in `ImageList.positions`.

        Raises:
            UsageError: the data set lacks a listed image.
        """
        if self.images is None:
            return spread(len(files), self.limit)
        places = self.images.positions(dataset, files, others)
        chosen: np.ndarray = places[spread(len(places), self.limit)]
        return chosen


class Openable(Protocol):
    """A data set as an object, which is opened when a run needs it."""

    @property
    def name(self) -> str:
        """The name in tables and files."""

    def open(self, request: Request) -> Dataset:
        """Open the data set."""


class Dataset(Protocol):
    """Images under distortions, read shard by shard."""

    @property
    def name(self) -> str:
        """The name on the command line."""

    @property
    def classes(self) -> int:
        """The number of classes; 0 if the images have no labels."""

    @property
    def labels(self) -> Labels:
        """How the images are labelled."""

    @property
    def scoring(self) -> Scoring:
        """The class rule, and the columns of the metrics. A data set may lack it."""

    @property
    def collection(self) -> str:
        """The images that were distorted, such as `digits`; a run has images of one collection."""

    @property
    def pixels(self) -> str:
        """The origin of the pixels: `files`, or the code that distorts."""

    @property
    def size(self) -> int:
        """Height and width of a frame, in pixels."""

    @property
    def images(self) -> int:
        """The number of images; positions 0 … images − 1 are divided into shards."""

    @property
    def distortions(self) -> tuple[Distortion, ...]:
        """All distortions of the data set, in the order of the reports."""

    @property
    def missing(self) -> Mapping[Distortion, Path]:
        """The distortions without files, and the path of the missing file or folder."""

    @property
    def geometry(self) -> str:
        """A description of the crop of a picture that models see."""

    @property
    def sha256(self) -> str:
        """The SHA-256 of all that predictions depend on: pixels, labels, selection, backend."""

    def stamp(self, distortion: Distortion, shard: Shard) -> str:
        """Return the SHA-256 of the sizes and times of a shard's files; empty without files."""

    def sources(self, distortion: Distortion, shard: Shard) -> str:
        """Return the SHA-256 of the bytes that a shard's images are read from.

        Raises:
            DatasetError: files cannot be read.
        """

    def frames(self, distortion: Distortion) -> int:
        """Return how many frames an image has under a distortion."""

    def read(
        self, distortion: Distortion, shard: Shard, batch_size: int, device: torch.device
    ) -> Iterator[Batch]:
        """Yield the images of a shard under a distortion, about `batch_size` frames at a time."""


def spread(images: int, limit: int | None) -> np.ndarray:
    """Return at most `limit` of `images` positions, evenly spread over all classes.

    >>> spread(10, 4)
    array([0, 2, 5, 7])
    """
    count = images if limit is None else min(limit, images)
    return np.arange(count) * images // count


def copied(images: Tensor, device: torch.device) -> Tensor:
    """Copy images to a device; to a GPU from pinned memory, without waiting."""
    if device.type != "cuda":
        return images.to(device)
    return images.pin_memory().to(device, non_blocking=True)
