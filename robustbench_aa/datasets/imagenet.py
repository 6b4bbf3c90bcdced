"""ImageNet-sized photographs: clean, corrupted as they are read, or stored as ImageNet-C is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from robustbench_aa.datasets.dataset import Request
from robustbench_aa.datasets.live import LiveDataset, spread
from robustbench_aa.datasets.pictures import (
    Pictures,
    centre,
    decode,
    find_pictures,
    resize_and_crop,
)
from robustbench_aa.distortions import corruptions_at
from robustbench_aa.distortions.corruptions import CORRUPTIONS
from robustbench_aa.distortions.severities import SEVERITIES, TABLES
from robustbench_aa.errors import UsageError
from robustbench_aa.types import CLEAN, Batch, Distortion, Shard

SIZE = 224
DISTORTIONS = {
    "image-folder": (CLEAN,),
    "imagenet-c-live": (CLEAN, *corruptions_at(SIZE)),
}


def open_live(name: str, request: Request) -> LiveDataset:
    """Clean photographs in class folders, under the distortions of a data set.

    Each is resized to a shorter side of 256 px (bilinear) and its middle 224 × 224 px are cut
    out, as ImageNet-C was made.

    Raises:
        UsageError: the folder is not named, not there, or has no pictures.
    """
    root = _data_dir(request, name, "IMAGENET_DIR")
    files, labels, classes = find_pictures(root)
    pictures = Pictures(files, labels, classes, resize_and_crop)
    return LiveDataset(
        name=name,
        classes=classes,
        size=SIZE,
        distortions=DISTORTIONS[name],
        index=spread(len(files), request.limit),
        clean=pictures.read,
        clean_sha256=pictures.sha256(root),
        seed=request.seed,
        backend=request.backend,
        stored_jpeg=request.stored_jpeg,
    )


@dataclass(frozen=True)
class StoredDataset:
    """Corrupted photographs in files: `<corruption>/<severity>/<class>/<picture>`.

    Attributes:
        name, classes, size, distortions: as in `Dataset`.
        folders: of each distortion.
        pictures: of the first of them; the others have the same.
        index: which of the pictures are measured.
        sha256: of the pictures' names and sizes there, and of what else there is.
    """

    name: str
    classes: int
    size: int
    distortions: tuple[Distortion, ...]
    folders: dict[Distortion, Path]
    pictures: Pictures
    index: np.ndarray
    sha256: str

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
        first = self.folders[self.distortions[0]]
        names = [file.relative_to(first) for file in self.pictures.files]
        files = [self.folders[distortion] / name for name in names]
        there = Pictures(files, self.pictures.labels, self.classes, self.pictures.crop)
        for start in range(shard.start, shard.stop, batch_size):
            index = self.index[start : min(start + batch_size, shard.stop)]
            images, labels = there.read(index)
            yield Batch(distortion, index, labels.numpy(), images.unsqueeze(1).to(device))


def open_stored(request: Request) -> StoredDataset:
    """ImageNet-C as released, or anything of the same layout; what is there is found by listing.

    The families' folders that the tars make may be there or not. The middle 224 × 224 px are
    taken and nothing is resized: the files were cropped when they were made.

    Raises:
        UsageError: the folder is not named, not there, or has no corruption in it.
    """
    root = _data_dir(request, "imagenet-c", "IMAGENET_C_DIR")
    folders = _find_cells(root)
    distortions = tuple(folders)
    files, labels, classes = find_pictures(folders[distortions[0]])
    pictures = Pictures(files, labels, classes, centre)
    decode(files[0], centre)  # the cheap part of verifying: is this what it should be?
    told = " ".join(map(str, distortions))
    return StoredDataset(
        name="imagenet-c",
        classes=classes,
        size=SIZE,
        distortions=distortions,
        folders=folders,
        pictures=pictures,
        index=spread(len(files), request.limit),
        sha256=f"{pictures.sha256(root)} {told}",
    )


def _find_cells(root: Path) -> dict[Distortion, Path]:
    """Every `<corruption>/<severity>` of a folder or of the folders in it, in published order."""
    if not root.is_dir():
        raise UsageError(f"no folder {root}; check --data-dir")
    published = list(TABLES[SIZE])
    found = [
        folder
        for pattern in ("*", "*/*")
        for folder in root.glob(pattern)
        if any((folder / str(severity)).is_dir() for severity in SEVERITIES)
    ]
    if not found:
        raise UsageError(f"no <corruption>/<severity> folders in {root}; check --data-dir")
    found.sort(key=lambda f: (published.index(f.name) if f.name in published else 99, f.name))
    cells = {}
    for folder in found:
        family = CORRUPTIONS[folder.name].family if folder.name in CORRUPTIONS else "other"
        for severity in SEVERITIES:
            if (folder / str(severity)).is_dir():
                cells[Distortion(family, folder.name, severity)] = folder / str(severity)
    return cells


def _data_dir(request: Request, name: str, variable: str) -> Path:
    folder = request.data_dir or os.environ.get(variable)
    if not folder:
        raise UsageError(f"{name} needs its files; name their folder by --data-dir or {variable}")
    return Path(folder)
