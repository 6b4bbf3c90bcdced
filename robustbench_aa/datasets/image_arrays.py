"""A user's images in memory, as an object."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.datasets.content import of_pixels
from robustbench_aa.datasets.dataset import Request, spread
from robustbench_aa.datasets.labels import Labels
from robustbench_aa.datasets.live import DISTORTIONS, LiveDataset
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.support.checks import whole_number
from robustbench_aa.support.pixels import as_batch, square_size
from robustbench_aa.types import Distortion


@dataclass(frozen=True, eq=False, repr=False)
class ImageArrays:
    """Images in memory with labels, distorted as they are read.

    Models see the images as they are. The SHA-256 of pixels and labels identifies the data set, so
    a run is not continued with other images.

    >>> import torch
    >>> import robustbench_aa as rb
    >>> images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    >>> rb.ImageArrays(images, [0, 1, 1, 2], "mine", distortions="imagenet-c")
    ImageArrays('mine', 4 images of 32 px, 3 classes, distortions='imagenet-c')

    Args:
        images: Square 8-bit RGB images: a tensor [N, 3, size, size] or a NumPy array
            [N, size, size, 3], uint8.
        labels: The class of each image, [N], whole numbers from 0.
        name: Name of the data set in tables and files.
        distortions: `clean` (also None), `imagenet-c` (its corruptions with the severities of the
            size, and clean images), `imagenet-p` (its perturbations; 32, 64 or 224 px), or `shift`
            (circular shifts).
        classes: Number of classes; the largest label plus one by default.

    Raises:
        UnknownName: There are no such distortions.
        UsageError: Images or labels have a wrong type or shape, a label is not below the number of
            classes, or no severities were published for the size of the images.
    """

    images: Tensor | np.ndarray
    labels: Sequence[int] | np.ndarray | Tensor
    name: str
    distortions: str | None = None
    classes: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise UsageError(f"the name of a data set is {self.name!r}; give a word")
        images = as_batch(self.images)
        square_size(images, f"images of {self.name}")
        labels = _labels(self.labels, len(images), self.name)
        largest = int(labels.max())
        classes = largest + 1
        if self.classes is not None:
            classes = whole_number(f"classes of {self.name}", self.classes, least=1)
        if largest >= classes:
            raise UsageError(
                f"{self.name} has a label {largest}, and the largest of {classes} classes is "
                f"{classes - 1}; give the number of all classes"
            )
        given: dict[str, Any] = {"images": images, "labels": labels, "classes": classes}
        for field, value in given.items():
            object.__setattr__(self, field, value)
        self._distortions()  # raises for sizes without severities

    def __repr__(self) -> str:
        count, size = len(self.images), self.images.shape[-1]
        return (
            f"ImageArrays({self.name!r}, {count} images of {size} px, {self.classes} classes, "
            f"distortions={self.distortions or 'clean'!r})"
        )

    def open(self, request: Request) -> LiveDataset:
        """Open the data set for a run."""
        images, labels = as_batch(self.images).cpu(), torch.as_tensor(self.labels)
        sources = of_pixels(images)
        digest = hashlib.sha256(np.ascontiguousarray(labels, "<i8").tobytes() + sources.tobytes())
        return LiveDataset(
            name=self.name,
            classes=self.classes or 1,
            labels=Labels("stored", len(labels.unique())),
            collection=f"arrays {hashlib.sha256(sources.tobytes()).hexdigest()[:16]}",
            size=images.shape[-1],
            distortions=tuple(self._distortions()),
            index=spread(len(images), request.limit),
            clean=lambda index: (images[index], labels[index], sources[index]),
            clean_sha256=digest.hexdigest(),
            seed=request.seed,
            backend=request.backend,
        )

    def _distortions(self) -> list[Distortion]:
        name = self.distortions or "clean"
        if name not in DISTORTIONS:
            raise UnknownName("distortions", name, DISTORTIONS)
        return DISTORTIONS[name](self.images.shape[-1])


def _labels(labels: Any, count: int, name: str) -> np.ndarray:
    """Return labels as an array [N], int64."""
    array = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise UsageError(
            f"labels of {name} are {array.dtype} of the shape {array.shape}; give a whole number "
            f"for each of {count} images"
        )
    if array.min() < 0:
        raise UsageError(f"{name} has a label {array.min()}; labels start at 0")
    return array.astype(np.int64)
