"""Tiny-ImageNet of 200 classes and 64 px: distorted as it is read, or Tiny-ImageNet-C as released.

Labels are the positions of the wnids in sorted order, as `torchvision.datasets.ImageFolder` gives
them to the training images.
"""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from pathlib import Path

import numpy as np

from robustbench_aa.datasets.dataset import Request
from robustbench_aa.datasets.entry import DatasetEntry, zenodo
from robustbench_aa.datasets.imagenet import find_cells, open_cells, verify_cells
from robustbench_aa.datasets.labels import Labels
from robustbench_aa.datasets.live import DISTORTIONS, LiveDataset
from robustbench_aa.datasets.pictures import Geometry, Pictures, find_pictures
from robustbench_aa.datasets.stored import StoredDataset
from robustbench_aa.errors import DatasetError, UsageError
from robustbench_aa.support.download import Download

SIZE = 64
CLASSES = 200
ARCHIVE = "tiny-imagenet-200"
"""The folder in the published archive of clean images."""
ANNOTATIONS = "val_annotations.txt"
SHRUNK = Geometry(SIZE, resize=SIZE)
"""How photographs are reduced for perturbations; images of 64 px stay as they are."""
WHOLE = Geometry(SIZE)
LIVE = {
    "tiny-imagenet-c-live": "imagenet-c",
    "tiny-imagenet-p-live": "imagenet-p",
    "tiny-imagenet-shift": "shift",
}
"""The distortions of each live data set, as `live.DISTORTIONS` names them."""


def open_live(entry: DatasetEntry, request: Request) -> LiveDataset:
    """Return Tiny-ImageNet's validation images under the distortions of a data set.

    The folder is the published one, or has a class folder for each of the 200 wnids. Perturbations
    also take photographs of any size in class folders, from which Tiny-ImageNet-P was made: they
    are resized to a shorter side of 64 px, `motion_blur` acts before that, and models see the
    middle.

    Raises:
        UsageError: the folder is not named, does not exist, or has other than 200 classes.
        DatasetError: the published list of labels cannot be read.
    """
    root = entry.folder(request)
    perturbed = entry.name == "tiny-imagenet-p-live"
    pictures = dataclasses.replace(
        find_images(root), geometry=SHRUNK if perturbed else WHOLE, workers=request.workers
    )
    originals = dataclasses.replace(pictures, geometry=WHOLE)
    return LiveDataset(
        name=entry.name,
        classes=CLASSES,
        labels=pictures.labels,
        collection="tiny-imagenet",
        size=SIZE,
        distortions=tuple(DISTORTIONS[LIVE[entry.name]](SIZE)),
        geometry=str(pictures.geometry),
        index=request.selected(entry.name, pictures.files),
        listed=request.listed,
        clean=pictures.read_whole if perturbed else pictures.read,
        original=originals.read_whole if perturbed else None,
        files=pictures.at,
        clean_sha256=pictures.sha256(root),
        seed=request.seed,
        backend=request.backend,
        stored_jpeg=request.stored_jpeg,
    )


def find_images(root: Path) -> Pictures:
    """Return the validation images of Tiny-ImageNet, as published or in class folders.

    Raises:
        UsageError: there are other than 200 classes.
        DatasetError: the published list of labels cannot be read, or names a missing file.
    """
    for folder in (root, root / "val", root / ARCHIVE / "val"):
        if (folder / ANNOTATIONS).is_file():
            return _annotated(folder)
    return find_pictures(root, known=class_names(root))


def _annotated(folder: Path) -> Pictures:
    """Return the images of the published validation folder with the labels of its list."""
    path = folder / ANNOTATIONS
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        wnid = {name: wnid for name, wnid, *_box in rows}
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); fetch it again") from error
    names = sorted(wnid)
    missing = [name for name in names if not (folder / "images" / name).is_file()]
    if missing:
        raise DatasetError(f"{folder / 'images'} lacks {missing[0]}; fetch the archive again")
    classes = sorted(set(wnid.values()))
    _check_count(len(classes), folder)
    place = {name: place for place, name in enumerate(classes)}
    label = np.array([place[wnid[name]] for name in names])
    files = [folder / "images" / name for name in names]
    return Pictures(files, label, CLASSES, Labels("known names", CLASSES))


def class_names(folder: Path) -> list[str]:
    """Return the names of the class folders in the order of their labels.

    Raises:
        UsageError: there are other than 200.
    """
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    _check_count(len(names), folder)
    return names


def _check_count(count: int, folder: Path) -> None:
    if count != CLASSES:
        advice = "check --data-dir"
        if count == 1000:
            advice = (
                "the first release of Tiny-ImageNet-C has the classes of ImageNet here; fetch the "
                "corrected one by robustbench-aa download tiny-imagenet-c"
            )
        raise UsageError(f"{folder} has {count} classes, not {CLASSES}; {advice}")


def open_stored(entry: DatasetEntry, request: Request) -> StoredDataset:
    """Return Tiny-ImageNet-C as released, `<corruption>/<severity>/<wnid>/<picture>`.

    Raises:
        UsageError: the folder is not named, does not exist, or has no corruptions; or a corruption
            has other than 200 classes.
    """
    root = entry.folder(request)
    folders = find_cells(root, SIZE)
    present = [folder for folder in folders.values() if folder.is_dir()]
    known, *_others = [class_names(folder) for folder in present]
    return open_cells(entry, request, folders, WHOLE, "tiny-imagenet", known)


_live = partial(
    DatasetEntry,
    opener=open_live,
    form="pictures",
    variable="TINY_IMAGENET_DIR",
    archives={
        "all": Download(
            f"http://cs231n.stanford.edu/{ARCHIVE}.zip", "md5", "90528d7ca1a48142e341f4ef8d21d0de"
        )
    },
)
ENTRIES = (
    _live(
        "tiny-imagenet-c-live", "Tiny-ImageNet under Tiny-ImageNet-C's corruptions, made on read"
    ),
    _live("tiny-imagenet-p-live", "Tiny-ImageNet under Tiny-ImageNet-P's perturbations"),
    _live("tiny-imagenet-shift", "Tiny-ImageNet under shifts; --protocol chooses them"),
    DatasetEntry(
        "tiny-imagenet-c",
        "Tiny-ImageNet-C as released",
        open_stored,
        form="pictures",
        variable="TINY_IMAGENET_C_DIR",
        verifier=partial(verify_cells, size=SIZE),
        archives={
            "all": zenodo(8206060, "Tiny-ImageNet-C", "f9c9a9dbdc11469f0b850190f7ad8be1"),
            "extra": zenodo(8206060, "Tiny-ImageNet-C-extra", "0db0588d243cf403ef93449ec52b70eb"),
        },
    ),
)
