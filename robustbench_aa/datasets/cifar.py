"""CIFAR-10 of 32 px, distorted as it is read; CIFAR-10-C and CIFAR-100-C as released."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from robustbench_aa.datasets.content import of_pixels
from robustbench_aa.datasets.dataset import Request, spread
from robustbench_aa.datasets.entry import DatasetEntry, Track, Verdict, zenodo
from robustbench_aa.datasets.imagenet import named_scoring
from robustbench_aa.datasets.labels import Labels
from robustbench_aa.datasets.live import DISTORTIONS, Clean, LiveDataset
from robustbench_aa.datasets.pictures import Geometry, find_pictures
from robustbench_aa.datasets.stored import StoredDataset, as_stored
from robustbench_aa.distortions import corruptions_at
from robustbench_aa.distortions.severities import SEVERITIES
from robustbench_aa.errors import DatasetError, UsageError, cause
from robustbench_aa.support.download import Download
from robustbench_aa.support.files import file_sha256, plain
from robustbench_aa.types import Distortion

SIZE = 32
NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
BATCH = Path("cifar-10-batches-py") / "test_batch"
C_BAR = (
    *("blue_noise_sample", "brownish_noise", "checkerboard_cutout", "circular_motion_blur"),
    *("inverse_sparkles", "lines", "pinch_and_twirl", "ripple", "sparkles"),
    "transverse_chromatic_abberation",
)
"""The corruptions of CIFAR-10-C-bar (Mintun, Kirillov and Xie, NeurIPS 2021)."""
LIVE = {
    "cifar10-c-live": "imagenet-c",
    "cifar10-p-live": "imagenet-p",
    "cifar10-shift": "shift",
}
"""The distortions of each live data set, as `live.DISTORTIONS` names them."""


def open_live(entry: DatasetEntry, request: Request) -> LiveDataset:
    """Return CIFAR-10's test images under the distortions of a data set.

    The folder holds `cifar-10-batches-py` as published, or class folders of pictures of 32 px
    that are named by the classes or their numbers.

    Raises:
        UsageError: the folder is not named, does not exist, or holds neither.
        DatasetError: the published file cannot be read.
    """
    root = entry.folder(request)
    geometry = Geometry(SIZE)
    if (root / BATCH).exists():
        images, labels = read_batch(root / BATCH)
        sources = of_pixels(images)
        index, digest = spread(len(images), request.limit), file_sha256(root / BATCH)
        listed = ""
        how = Labels("stored", len(NAMES))

        def clean(index: np.ndarray) -> Clean:
            return images[index], labels[index], sources[index]

        def files(index: np.ndarray) -> list[Path]:
            return [root / BATCH] if len(index) else []
    else:
        pictures = find_pictures(root, NAMES)
        if pictures.classes != len(NAMES):
            raise UsageError(
                f"{root} has {pictures.classes} class folders that are not CIFAR-10's; name the "
                f"folder of {BATCH.parent} or one of {NAMES[0]}, {NAMES[1]}, …"
            )
        pictures = replace(pictures, geometry=geometry, workers=request.workers)
        index, listed = request.selected(entry.name, pictures.files), request.listed
        digest, clean = pictures.sha256(root), pictures.read
        files = pictures.at
        how = pictures.labels
    return LiveDataset(
        name=entry.name,
        classes=len(NAMES),
        labels=how,
        collection="cifar10",
        size=SIZE,
        distortions=tuple(DISTORTIONS[LIVE[entry.name]](SIZE)),
        geometry=str(geometry),
        index=index,
        listed=listed,
        clean=clean,
        files=files,
        clean_sha256=digest,
        seed=request.seed,
        backend=request.backend,
    )


def open_stored(
    entry: DatasetEntry, request: Request, classes: int, names: Sequence[str] = ()
) -> StoredDataset:
    """Return CIFAR-10-C or a set in its layout: one array per corruption.

    An array holds the images of severity 1, then those of severity 2, and so on.

    Args:
        entry: the data set.
        request: the part to open, and its folder.
        classes: number of classes.
        names: all corruptions of the data set; empty for those of CIFAR-10-C.

    Raises:
        UsageError: the folder is not named, does not exist, or has no such arrays.
        DatasetError: an array cannot be read or has another shape.
    """
    root = inside(entry.folder(request), classes, names)
    labels = read_labels(root, classes)
    arrays = find_arrays(root, names)
    opened = {file: read_array(file, len(labels)) for file in set(arrays.values()) if file.exists()}
    images = len(labels) // len(SEVERITIES)

    def stored(cell: Distortion, index: np.ndarray) -> tuple[Tensor, Tensor, np.ndarray]:
        rows = index + images * SEVERITIES.index(cell.severity or 1)
        pixels = torch.from_numpy(opened[arrays[cell]][rows])
        label = torch.from_numpy(labels[rows])
        return pixels.permute(0, 3, 1, 2).contiguous(), label, of_pixels(pixels)

    digest = hashlib.sha256(labels.tobytes())
    for file in sorted(opened):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
    return StoredDataset(
        name=entry.name,
        classes=classes,
        labels=Labels("stored", len(np.unique(labels))),
        collection=f"cifar{classes}",
        size=SIZE,
        distortions=tuple(arrays),
        missing={cell: file for cell, file in arrays.items() if file not in opened},
        geometry="as they are",
        files_sha256=digest.hexdigest(),
        index=spread(images, request.limit),
        stored=stored,
        files=lambda cell, _index: [arrays[cell]],
        scoring=named_scoring(entry, classes),
    )


def inside(root: Path, classes: int, names: Sequence[str]) -> Path:
    """Return the folder of the published archive, in a folder into which it was unpacked."""
    folder = root / f"CIFAR-{classes}-C{'-Bar' if names else ''}"
    return folder if folder.is_dir() else root


def find_arrays(root: Path, names: Sequence[str] = ()) -> dict[Distortion, Path]:
    """Return the file of each corruption and severity, present or expected, in published order.

    Args:
        root: the folder.
        names: as in `open_stored`.

    Raises:
        UsageError: there is none.
    """
    cells = [as_stored(cell) for cell in corruptions_at(SIZE)]
    if names:
        cells = [
            Distortion("corruption", name, severity, group="other")
            for name in names
            for severity in SEVERITIES
        ]
    there = {cell.name for cell in cells if (root / f"{cell.name}.npy").exists()}
    if not there:
        raise UsageError(f"no <corruption>.npy in {root}; check --data-dir")
    return {
        cell: root / f"{cell.name}.npy"
        for cell in cells
        # registered corruptions need no files
        if cell.name in there or cell.role == "counted" or names
    }


def read_labels(root: Path, classes: int) -> np.ndarray:
    """Return `labels.npy`, [5 · N] int64.

    Raises:
        DatasetError: the file cannot be read, or does not hold such labels.
    """
    path = root / "labels.npy"
    labels = load_array(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) % len(SEVERITIES):
        raise DatasetError(
            f"{path} is {labels.dtype} {labels.shape}, not whole numbers for five severities; "
            "fetch it again"
        )
    if not len(labels) or labels.min() < 0 or labels.max() >= classes:
        raise DatasetError(f"{path} has labels that are not 0 to {classes - 1}; fetch it again")
    return labels.astype(np.int64)


def read_array(path: Path, rows: int) -> np.ndarray:
    """Map the images of a corruption from disk, [rows, 32, 32, 3] uint8.

    Raises:
        DatasetError: the file cannot be read, or holds another shape or type.
    """
    array = load_array(path)
    expected = (rows, SIZE, SIZE, 3)
    if array.shape != expected or array.dtype != np.uint8:
        raise DatasetError(
            f"{path} is {array.dtype} {array.shape}, not uint8 {expected}; fetch it again"
        )
    return array


def load_array(path: Path) -> np.ndarray:
    """Map an array from disk.

    Raises:
        DatasetError: the file cannot be read or holds something else.
    """
    try:
        array = np.load(plain(path), mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):  # NumPy opens archives of arrays too
            raise ValueError("it is an archive")
    except Exception as error:  # a damaged header raises exceptions of any type
        raise DatasetError(f"{path} cannot be read ({cause(error)}); fetch it again") from error
    return array


class _ArraysOnly(pickle._Unpickler):
    """An unpickler for the types of CIFAR-10's files; it refuses all other names.

    It extends the unpickler in Python: the one in C allocates a list as long as the largest memo
    index, which a damaged file can choose.
    """

    ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_batch(path: Path) -> tuple[Tensor, Tensor]:
    """Return the images of one of CIFAR-10's files, [N, 3, 32, 32] uint8, and labels, [N] int64.

    Raises:
        DatasetError: the file cannot be read or is not one of CIFAR-10's.
    """
    try:
        with plain(path).open("rb") as file:
            content = _ArraysOnly(file, encoding="bytes").load()
        data, classes = content[b"data"], content[b"labels"]
        # a damaged pickle can describe endless lists, or arrays larger than the file
        if data.dtype != np.uint8 or data.nbytes > path.stat().st_size:
            raise ValueError(f"its data are {data.dtype} {data.shape}")
        if not all(type(label) is int and 0 <= label < len(NAMES) for label in classes):
            raise ValueError(f"its labels are not 0 to {len(NAMES) - 1}")
        pixels = data.reshape(-1, 3, SIZE, SIZE)
        labels = np.array(classes, dtype=np.int64).reshape(len(pixels))
    except Exception as error:  # a damaged pickle raises exceptions of any type
        raise DatasetError(
            f"{path} is not a batch of CIFAR-10 ({cause(error)}); fetch it again"
        ) from error
    return torch.from_numpy(pixels), torch.from_numpy(labels)


def verify_arrays(
    root: Path, _sample: int | None, track: Track, *, classes: int, names: Sequence[str] = ()
) -> Verdict:
    """Check that the labels and the array of each corruption can be read."""
    problems, rows = [], []
    root = inside(root, classes, names)
    files = find_arrays(root, names)
    count = 10_000 * len(SEVERITIES)
    try:
        count = len(read_labels(root, classes))
    except DatasetError as error:
        problems.append(str(error))
    for cell in track([cell for cell in files if cell.severity == 1]):
        try:
            images = len(read_array(files[cell], count))
        except DatasetError as error:
            images = 0
            problems.append(str(error))
        rows.append({"corruption": cell.name, "images": images, "severities": len(SEVERITIES)})
    return pd.DataFrame(rows), problems


def _stored(classes: int, variable: str, archive: Download) -> DatasetEntry:
    return DatasetEntry(
        f"cifar{classes}-c",
        f"CIFAR-{classes}-C as released",
        partial(open_stored, classes=classes),
        form="arrays",
        variable=variable,
        verifier=partial(verify_arrays, classes=classes),
        archives={"all": archive},
    )


_live = partial(
    DatasetEntry,
    opener=open_live,
    form="pictures",
    variable="CIFAR10_DIR",
    archives={
        "all": Download(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "md5",
            "c58f30108f718f92721af3b95e74349a",
        )
    },
)
ENTRIES = (
    _live("cifar10-c-live", "CIFAR-10 under CIFAR-10-C's corruptions, made as they are read"),
    _live("cifar10-p-live", "CIFAR-10 under CIFAR-10-P's perturbations, made as they are read"),
    _live("cifar10-shift", "CIFAR-10 under shifts; --protocol chooses them"),
    _stored(10, "CIFAR10_C_DIR", zenodo(2535967, "CIFAR-10-C", "56bf5dcef84df0e2308c6dcbcbbd8499")),
    _stored(
        100, "CIFAR100_C_DIR", zenodo(3555552, "CIFAR-100-C", "11f0ed0f1191edbf9fa23466ae6021d3")
    ),
    DatasetEntry(
        "cifar10-c-bar",
        "CIFAR-10-C-bar, made by its authors' script",
        partial(open_stored, classes=10, names=C_BAR),
        form="arrays",
        variable="CIFAR10_C_BAR_DIR",
        verifier=partial(verify_arrays, classes=10, names=C_BAR),
        obtain="it is not published: make it by make_cifar10_c_bar.py of "
        "https://github.com/facebookresearch/augmentation-corruption",
        column="cifar10_c_bar",
    ),
)
