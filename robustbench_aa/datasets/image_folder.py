"""A user's photographs in class folders, as an object."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

from robustbench_aa.datasets import load_dataset
from robustbench_aa.datasets.dataset import Dataset, Request
from robustbench_aa.errors import UnknownName

NAMES = {
    "clean": "image-folder",
    "imagenet-c": "imagenet-c-live",
    "imagenet-p": "imagenet-p-live",
    "shift": "imagenet-shift",
}
"""The data set of photographs by its distortions."""


@dataclass(frozen=True)
class ImageFolder:
    """Photographs in class folders, distorted as they are read.

    It is the same data set as `image-folder`, `imagenet-c-live`, `imagenet-p-live` or
    `imagenet-shift`, with the folder `root`. Photographs are resized to a shorter side of 256 px,
    and models see their middle 224 × 224 px.

    >>> import tempfile
    >>> import robustbench_aa as rb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rb.ImageFolder(folder, distortions="imagenet-c").name
    'imagenet-c-live'

    Args:
        root: Folder of class folders.
        distortions: `clean` (also None), `imagenet-c` (its corruptions, and clean photographs),
            `imagenet-p` (its perturbations), or `shift` (crops, circular and diagonal shifts).
        classes: Number of classes, if class folders are numbers with gaps; a number is then a
            label. None if the folders show the number of classes.
        unlabelled: Whether the photographs have no labels. Their folders do not matter then, and
            only `imagenet-p` and `shift` can be measured.

    Raises:
        UnknownName: There are no such distortions.
        UsageError: There is no such folder.
    """

    root: str | os.PathLike[str]
    distortions: str | None = None
    classes: int | None = None
    unlabelled: bool = False

    def __post_init__(self) -> None:
        if (self.distortions or "clean") not in NAMES:
            raise UnknownName("distortions", self.distortions, NAMES)
        load_dataset(self.name, self.root)  # checks the folder

    @property
    def name(self) -> str:
        """The name of the data set in tables and files."""
        return NAMES[self.distortions or "clean"]

    def open(self, request: Request) -> Dataset:
        """Open the data set for a run.

        Raises:
            UsageError: the folder has no pictures in class folders, or what the distortions measure
                needs labels.
        """
        unlabelled = self.unlabelled or request.unlabelled
        dataset = load_dataset(self.name, self.root, classes=self.classes)
        return dataset.open(dataclasses.replace(request, unlabelled=unlabelled))
