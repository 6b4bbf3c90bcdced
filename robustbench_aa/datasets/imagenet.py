"""ImageNet-sized photographs: clean, corrupted as they are read, or stored as ImageNet-C is."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from robustbench_aa.datasets.dataset import Request
from robustbench_aa.datasets.live import LiveDataset, spread
from robustbench_aa.datasets.pictures import AS_MADE, STORED, decode, find_pictures
from robustbench_aa.datasets.stored import StoredDataset, data_dir
from robustbench_aa.distortions import corruptions_at, perturbations_at, shifts_by
from robustbench_aa.distortions.severities import SEVERITIES
from robustbench_aa.distortions.shifts import MARGIN
from robustbench_aa.errors import UsageError
from robustbench_aa.types import CLEAN, COUNTED_CORRUPTIONS, Distortion

COLLECTION = "photographs"
KEPT = 2**31
"""Bytes of decoded photographs that are kept: 14,000 of 224 px."""
LIVE: dict[str, Callable[[int], list[Distortion]]] = {
    "image-folder": lambda _size: [CLEAN],
    "imagenet-c-live": lambda size: [CLEAN, *corruptions_at(size)],
    "imagenet-p-live": perturbations_at,
    "imagenet-shift": lambda _size: shifts_by("crops", "circular", "diagonal"),
}


def open_live(name: str, request: Request) -> LiveDataset:
    """Clean photographs in class folders, under the distortions of a data set.

    Each is resized to a shorter side of 256 px (bilinear) and its middle 224 × 224 px are seen,
    as ImageNet-C and ImageNet-P were made, unless the request says otherwise. Shifts are crops of
    its middle 256 × 256 px.

    Raises:
        UsageError: the folder is not named, not there, or has no pictures; or the distortions were
            not published for the request's size.
    """
    root = data_dir(request, name, "IMAGENET_DIR")
    geometry = request.geometry or AS_MADE
    size = geometry.size
    if name == "imagenet-shift":
        if request.geometry:
            raise UsageError(f"{name} has a published geometry; leave out --own-preprocessing")
        geometry = dataclasses.replace(AS_MADE, size=size + MARGIN)
    pictures = dataclasses.replace(
        find_pictures(root, classes=request.classes), geometry=geometry, workers=request.workers
    )
    return LiveDataset(
        name=name,
        classes=pictures.classes,
        labels=pictures.labels,
        collection=COLLECTION,
        size=size,
        distortions=tuple(LIVE[name](size)),
        geometry=str(geometry),
        index=spread(len(pictures.files), request.limit),
        clean=pictures.read_whole if name == "imagenet-p-live" else pictures.read,
        clean_sha256=pictures.sha256(root),
        seed=request.seed,
        backend=request.backend,
        stored_jpeg=request.stored_jpeg,
        files=pictures.at,
        keep=KEPT,
    )


def open_stored(request: Request) -> StoredDataset:
    """ImageNet-C as released, or anything of the same layout; what is there is found by listing.

    The families' folders that the tars make may be there or not. The middle 224 × 224 px are
    taken and nothing is resized: the files were cropped when they were made. Of ImageNet-C
    itself, the 15 corruptions that its mean error counts are expected, and hold-outs that are
    there are added.

    Raises:
        UsageError: the folder is not named, not there, or has no corruption in it; or the
            corruptions have different classes.
    """
    root = data_dir(request, "imagenet-c", "IMAGENET_C_DIR")
    folders = find_cells(root)
    present = [cell for cell, folder in folders.items() if folder.is_dir()]
    first = folders[present[0]]
    _check_classes(first, [folders[cell] for cell in present])
    pictures = dataclasses.replace(
        find_pictures(first, classes=request.classes), workers=request.workers
    )
    names = [file.relative_to(first) for file in pictures.files]
    decode(pictures.files[0], STORED.square)  # is it of the size that it should be?

    def files(cell: Distortion, index: np.ndarray) -> list[Path]:
        return [folders[cell] / names[place] for place in index]

    def stored(cell: Distortion, index: np.ndarray) -> tuple[Tensor, Tensor, np.ndarray]:
        label = pictures.label[index]
        of_cell = dataclasses.replace(pictures, files=files(cell, index), label=label)
        return of_cell.read(np.arange(len(index)))

    told = " ".join(map(str, present))
    return StoredDataset(
        name="imagenet-c",
        classes=pictures.classes,
        labels=pictures.labels,
        collection=COLLECTION,
        size=STORED.size,
        distortions=tuple(folders),
        missing={cell: folders[cell] for cell in folders if cell not in present},
        geometry=str(STORED),
        files_sha256=f"{pictures.sha256(root)} {told}",
        index=spread(len(pictures.files), request.limit),
        stored=stored,
        files=files,
    )


def find_cells(root: Path) -> dict[Distortion, Path]:
    """Every `<corruption>/<severity>` that a folder has or should have, in published order.

    Raises:
        UsageError: there is none at all.
    """
    found = {
        folder.name: folder
        for pattern in ("*", "*/*")
        for folder in sorted(root.glob(pattern))
        if any((folder / str(severity)).is_dir() for severity in SEVERITIES)
    }
    if not found:
        raise UsageError(f"no <corruption>/<severity> folders in {root}; check --data-dir")
    groups = {cell.name: cell.group for cell in corruptions_at(STORED.size)}
    names = []
    if found.keys() & groups.keys():
        names = [name for name in groups if name in found or name in COUNTED_CORRUPTIONS]
    names += sorted(found.keys() - groups.keys())
    return {
        Distortion("corruption", name, severity, group=groups.get(name, "other")): (
            found.get(name, root / name) / str(severity)
        )
        for name in names
        for severity in SEVERITIES
    }


def _check_classes(first: Path, folders: list[Path]) -> None:
    expected = _names_in(first)
    for folder in folders:
        found = _names_in(folder)
        if found != expected:
            strange = min(found ^ expected)
            where, other = (folder, first) if strange in found else (first, folder)
            raise UsageError(
                f"{where} has a class {strange} and {other} has not; run robustbench-aa verify"
            )


def _names_in(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder) if entry.is_dir()}
