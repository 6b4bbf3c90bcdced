"""Photographs of ImageNet's size: clean, distorted as they are read, or ImageNet-C as released.

Folders that are named by ImageNet's wnids have the labels of those, also if some are missing; see
`labels.label_folders` for other names.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from robustbench_aa.datasets.dataset import Request
from robustbench_aa.datasets.entry import DatasetEntry, Track, Verdict, zenodo
from robustbench_aa.datasets.labels import PLAIN, Scoring
from robustbench_aa.datasets.live import DISTORTIONS, LiveDataset
from robustbench_aa.datasets.pictures import (
    AS_MADE,
    STORED,
    SUFFIXES,
    Geometry,
    decode,
    find_pictures,
    find_unlabelled,
)
from robustbench_aa.datasets.stored import StoredDataset
from robustbench_aa.datasets.verify import verify_class_folders
from robustbench_aa.distortions import corruptions_at, shifts_by
from robustbench_aa.distortions.severities import SEVERITIES
from robustbench_aa.distortions.shifts import margin
from robustbench_aa.errors import UsageError
from robustbench_aa.types import CLEAN, COUNTED_CORRUPTIONS, PHOTOGRAPHS, Distortion

KEPT = 2**31
"""Bytes of decoded photographs that are kept in memory: 14,000 of 224 px."""
REQUEST = (
    "ImageNet is given on request: ask for ILSVRC2012_img_val.tar at "
    "https://image-net.org/download and sort its pictures into a folder for each wnid"
)
"""How to get ImageNet's validation set."""
C_BAR = (
    *("blue_noise_sample", "brownish_noise", "caustic_refraction", "checkerboard_cutout"),
    *("cocentric_sine_waves", "inverse_sparkles", "perlin_noise", "plasma_noise"),
    *("single_frequency_greyscale", "sparkles"),
)
"""The corruptions of ImageNet-C-bar (Mintun, Kirillov and Xie, NeurIPS 2021)."""
COMMON_3D = (
    *("near_focus", "far_focus", "bit_error", "color_quant", "flash", "fog_3d"),
    *("h265_abr", "h265_crf", "iso_noise", "low_light", "xy_motion_blur", "z_motion_blur"),
)
"""The corruptions of ImageNet-3DCC (Kar et al., "3D Common Corruptions", CVPR 2022)."""
LIVE: dict[str, Callable[[int], list[Distortion]]] = {
    "image-folder": DISTORTIONS["clean"],
    "imagenet-c-live": DISTORTIONS["imagenet-c"],
    "imagenet-p-live": DISTORTIONS["imagenet-p"],
    "imagenet-shift": lambda _size: shifts_by("crops", "circular", "diagonal"),
}

WITHOUT_LABELS = ("imagenet-p-live", "imagenet-shift")
"""The data sets of which most metrics need no labels."""


def open_live(entry: DatasetEntry, request: Request) -> LiveDataset:
    """Return clean photographs in class folders, under the distortions of a data set.

    Each photograph is resized to a shorter side of 256 px (bilinear), and models see its middle
    224 × 224 px, as ImageNet-C and ImageNet-P were made. The request may name another geometry.
    Shifts are crops of the middle 256 × 256 px.

    Raises:
        UsageError: the folder is not named, does not exist, or has no pictures; or the distortions
            were not published for the request's size, or what they measure needs labels.
    """
    name, root = entry.name, entry.folder(request)
    if request.unlabelled and name not in WITHOUT_LABELS:
        raise UsageError(
            f"data set {name} measures errors, which need labels; use {' or '.join(WITHOUT_LABELS)}"
        )
    geometry = request.geometry or AS_MADE
    size = geometry.size
    if name == "imagenet-shift":
        if request.geometry:
            raise UsageError(f"{name} has a published geometry; leave out --own-preprocessing")
        geometry = dataclasses.replace(AS_MADE, size=size + margin(size))
    found = (
        find_unlabelled if request.unlabelled else partial(find_pictures, classes=request.classes)
    )
    pictures = dataclasses.replace(found(root), geometry=geometry, workers=request.workers)
    return LiveDataset(
        name=name,
        classes=pictures.classes,
        labels=pictures.labels,
        collection=PHOTOGRAPHS,
        size=size,
        distortions=tuple(LIVE[name](size)),
        geometry=str(geometry),
        index=request.selected(entry.name, pictures.files),
        listed=request.listed,
        clean=pictures.read_whole if name == "imagenet-p-live" else pictures.read,
        clean_sha256=pictures.sha256(root),
        seed=request.seed,
        backend=request.backend,
        stored_jpeg=request.stored_jpeg,
        files=pictures.at,
        keep=KEPT,
    )


def open_stored(entry: DatasetEntry, request: Request) -> StoredDataset:
    """Return ImageNet-C as released, or another set of corruptions with the same layout.

    The corruptions are found by listing the folder, at the top or one level down, in the folders
    of the archives. Models see the middle 224 × 224 px; nothing is resized, because the files were
    cropped when they were made. If any corruption of ImageNet-C is present, all 15 that its mean
    error counts are expected; hold-outs are included if they are present.

    Raises:
        UsageError: the folder is not named, does not exist, or has no corruptions; or the
            corruptions have different classes.
    """
    return open_cells(entry, request, find_cells(entry.folder(request)), STORED, PHOTOGRAPHS)


def open_named(entry: DatasetEntry, request: Request, names: Sequence[str]) -> StoredDataset:
    """Return other corruptions in the layout of ImageNet-C, whose metrics have their own columns.

    Args:
        entry, request: as in `open_stored`.
        names: all corruptions of the data set.

    Raises:
        UsageError: as `open_stored`, or the folder has a corruption of another data set.
    """
    root = entry.folder(request)
    found = {
        (cell.name, cell.severity): folder
        for cell, folder in find_cells(root).items()
        if folder.is_dir()
    }
    other = sorted({name for name, _ in found} - {*names})
    if other:
        raise UsageError(
            f"{root} has a corruption {other[0]}, which {entry.name} does not; check --data-dir"
        )
    folders = {
        Distortion("corruption", name, severity, group="other"): (
            found.get((name, severity), root / name / str(severity))
        )
        for name in names
        for severity in SEVERITIES
    }
    return open_cells(entry, request, folders, STORED, PHOTOGRAPHS)


def open_cells(
    entry: DatasetEntry,
    request: Request,
    folders: Mapping[Distortion, Path],
    geometry: Geometry,
    collection: str,
    known: Sequence[str] | None = None,
) -> StoredDataset:
    """Return a set of corruptions in the layout of ImageNet-C.

    Args:
        entry, request: as in `open_stored`.
        folders: the folder of each corruption and severity, as `find_cells` returns them.
        geometry: the square of a file that models see.
        collection: as in `Dataset`.
        known: the classes, in the order of their labels; None for ImageNet's wnids.

    Raises:
        UsageError: the corruptions have different classes.
    """
    present = [cell for cell, folder in folders.items() if folder.is_dir()]
    first = folders[present[0]]
    _check_classes(first, [folders[cell] for cell in present])
    pictures = dataclasses.replace(
        find_pictures(first, known, classes=request.classes),
        geometry=geometry,
        workers=request.workers,
    )
    names = [str(file.relative_to(first)) for file in pictures.files]
    decode(pictures.files[0], geometry.square)  # raises if the pictures have another size

    def files(cell: Distortion, index: np.ndarray) -> list[str]:
        folder = f"{folders[cell]}{os.sep}"
        return [folder + names[place] for place in index.tolist()]

    def stored(cell: Distortion, index: np.ndarray) -> tuple[Tensor, Tensor, np.ndarray]:
        label = pictures.label[index]
        paths = [Path(file) for file in files(cell, index)]
        of_cell = dataclasses.replace(pictures, files=paths, label=label)
        return of_cell.read(np.arange(len(index)))

    cells = " ".join(map(str, present))
    return StoredDataset(
        name=entry.name,
        classes=pictures.classes,
        labels=pictures.labels,
        collection=collection,
        size=geometry.size,
        distortions=tuple(folders),
        missing={cell: folders[cell] for cell in folders if cell not in present},
        geometry=str(geometry),
        files_sha256=f"{pictures.sha256(entry.folder(request))} {cells}",
        index=request.selected(entry.name, pictures.files),
        listed=request.listed,
        stored=stored,
        files=files,
        scoring=named_scoring(entry, pictures.classes),
    )


def named_scoring(entry: DatasetEntry, classes: int) -> Scoring:
    """Return the class rule of corruptions whose metrics may have columns of their own."""
    rule = f"one label among {classes:,} classes"
    return Scoring(entry.column, rule) if entry.column else PLAIN


def find_cells(root: Path, size: int = STORED.size) -> dict[Distortion, Path]:
    """Return the folder of each corruption and severity, present or expected, in published order.

    Args:
        root: the folder.
        size: height and width of the pictures, in pixels.

    Raises:
        UsageError: there is none.
    """
    found: dict[str, Path] = {}
    for pattern in ("*", "*/*"):
        for folder in sorted(root.glob(pattern)):
            levels = any((folder / str(severity)).is_dir() for severity in SEVERITIES)
            # the folder of a severity has classes, whose names may be numbers too
            if levels and folder.parent not in found.values():
                found[folder.name] = folder
    if not found:
        raise UsageError(f"no <corruption>/<severity> folders in {root}; check --data-dir")
    groups = {cell.name: cell.group for cell in corruptions_at(size)}
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
                f"{where} has a class {strange} and {other} does not; run robustbench-aa verify"
            )


def _names_in(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder) if entry.is_dir()}


def verify_clean(root: Path, sample: int | None, track: Track) -> Verdict:
    """Check class folders of photographs."""

    def readable(file: Path) -> str:
        decode(file, AS_MADE.square)
        return "readable"

    return verify_class_folders({CLEAN: root}, SUFFIXES, readable, None, sample, track)


def verify_cells(
    root: Path, sample: int | None, track: Track, *, size: int = STORED.size
) -> Verdict:
    """Check files in the layout of ImageNet-C: all have one size, and all cells the same files."""

    def lengths(file: Path) -> str:
        decode(file, Geometry(size).square)
        with Image.open(file) as picture:
            return f"{picture.size[0]}×{picture.size[1]} px"

    folders = find_cells(root, size)
    return verify_class_folders(folders, SUFFIXES, lengths, f"{size}×{size} px", sample, track)


_live = partial(
    DatasetEntry,
    opener=open_live,
    form="pictures",
    variable="IMAGENET_DIR",
    verifier=verify_clean,
    obtain=REQUEST,
)
ENTRIES = (
    _live("image-folder", "photographs in class folders, clean"),
    _live("imagenet-c-live", "photographs under ImageNet-C's corruptions, made as they are read"),
    _live("imagenet-p-live", "photographs under ImageNet-P's perturbations, made as they are read"),
    _live("imagenet-shift", "photographs under shifts; --protocol chooses them"),
    DatasetEntry(
        "imagenet-c",
        "ImageNet-C as released, or corruptions in its layout",
        open_stored,
        form="pictures",
        variable="IMAGENET_C_DIR",
        verifier=verify_cells,
        archives={
            "noise": zenodo(2235448, "noise", "e80562d7f6c3f8834afb1ecf27252745"),
            "blur": zenodo(2235448, "blur", "2d8e81fdd8e07fef67b9334fa635e45c"),
            "weather": zenodo(2235448, "weather", "33ffea4db4d93fe4a428c40a6ce0c25d"),
            "digital": zenodo(2235448, "digital", "89157860d7b10d5797849337ca2e5c03"),
            "extra": zenodo(2235448, "extra", "d492dfba5fc162d8ec2c3cd8ee672984"),
        },
    ),
    DatasetEntry(
        "imagenet-c-bar",
        "ImageNet-C-bar as released",
        partial(open_named, names=C_BAR),
        form="pictures",
        variable="IMAGENET_C_BAR_DIR",
        verifier=verify_cells,
        obtain="its archive has no published checksum: fetch "
        "https://dl.fbaipublicfiles.com/inc_bar/imagenet_c_bar.tar.gz and unpack it, or make it by "
        "the scripts of https://github.com/facebookresearch/augmentation-corruption",
        column="imagenet_c_bar",
    ),
    DatasetEntry(
        "imagenet-3dcc",
        "ImageNet-3DCC as released",
        partial(open_named, names=COMMON_3D),
        form="pictures",
        variable="IMAGENET_3DCC_DIR",
        verifier=verify_cells,
        obtain="its archives have no published checksums: fetch them by the tool that "
        "https://github.com/EPFL-VILAB/3DCommonCorruptions describes",
        column="imagenet_3dcc",
    ),
)
