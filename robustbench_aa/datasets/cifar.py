"""CIFAR-10 of 32 px: corrupted as it is read, or CIFAR-10-C's arrays as released."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.datasets.content import of_pixels
from robustbench_aa.datasets.dataset import Request
from robustbench_aa.datasets.live import Clean, LiveDataset, spread
from robustbench_aa.datasets.pictures import Geometry, Labels, find_pictures
from robustbench_aa.datasets.stored import StoredDataset, as_stored, data_dir
from robustbench_aa.distortions import corruptions_at, perturbations_at, shifts_by
from robustbench_aa.distortions.severities import SEVERITIES
from robustbench_aa.errors import DatasetError, UsageError, cause
from robustbench_aa.support.files import file_sha256, plain
from robustbench_aa.types import CLEAN, Distortion

SIZE = 32
NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
BATCH = Path("cifar-10-batches-py") / "test_batch"


LIVE: Mapping[str, Callable[[], list[Distortion]]] = {
    "cifar10-c-live": lambda: [CLEAN, *corruptions_at(SIZE)],
    "cifar10-p-live": lambda: perturbations_at(SIZE),
    "cifar10-shift": lambda: shifts_by("circular"),
}
"""The distortions of each data set, as they are registered when it is opened."""


def open_live(name: str, request: Request) -> LiveDataset:
    """CIFAR-10's test images under the distortions of a data set.

    The folder holds `cifar-10-batches-py` as it is published, or is one of class folders (of
    pictures of 32 px) with the classes' names or numbers.

    Raises:
        UsageError: the folder is not named, not there, or holds neither.
        DatasetError: the published file cannot be read.
    """
    root = data_dir(request, name, "CIFAR10_DIR")
    geometry = Geometry(SIZE)
    if (root / BATCH).exists():
        images, labels = _read_batch(root / BATCH)
        sources = of_pixels(images)
        count, digest = len(images), file_sha256(root / BATCH)
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
        count, digest, clean = len(pictures.files), pictures.sha256(root), pictures.read
        files = pictures.at
        how = pictures.labels
    return LiveDataset(
        name=name,
        classes=len(NAMES),
        labels=how,
        collection="cifar10",
        size=SIZE,
        distortions=tuple(LIVE[name]()),
        geometry=str(geometry),
        index=spread(count, request.limit),
        clean=clean,
        files=files,
        clean_sha256=digest,
        seed=request.seed,
        backend=request.backend,
    )


def open_stored(name: str, request: Request) -> StoredDataset:
    """CIFAR-10-C or CIFAR-100-C as released: an array a corruption, its severities end to end.

    Args:
        name: `cifar10-c` or `cifar100-c`.

    Raises:
        UsageError: the folder is not named, not there, or has no such arrays.
        DatasetError: an array cannot be read or has another shape; names it.
    """
    variable, classes = {
        "cifar10-c": ("CIFAR10_C_DIR", 10),
        "cifar100-c": ("CIFAR100_C_DIR", 100),
    }[name]
    root = data_dir(request, name, variable)
    labels = read_labels(root, classes)
    arrays = find_arrays(root)
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
        name=name,
        classes=classes,
        labels=Labels("stored", len(np.unique(labels))),
        collection=name.removesuffix("-c"),
        size=SIZE,
        distortions=tuple(arrays),
        missing={cell: file for cell, file in arrays.items() if file not in opened},
        geometry="as they are",
        files_sha256=digest.hexdigest(),
        index=spread(images, request.limit),
        stored=stored,
        files=lambda cell, _index: [arrays[cell]],
    )


def find_arrays(root: Path) -> dict[Distortion, Path]:
    """The file of every cell that a folder has or should have, in published order.

    Raises:
        UsageError: there is none at all.
    """
    cells = [as_stored(cell) for cell in corruptions_at(SIZE)]
    there = {cell.name for cell in cells if (root / f"{cell.name}.npy").exists()}
    if not there:
        raise UsageError(f"no <corruption>.npy in {root}; check --data-dir")
    return {
        cell: root / f"{cell.name}.npy"
        for cell in cells
        if cell.name in there or cell.role == "counted"
    }


def read_labels(root: Path, classes: int) -> np.ndarray:
    """`labels.npy` as [5 · N] int64.

    Raises:
        DatasetError: it cannot be read, or is not what it should be.
    """
    path = root / "labels.npy"
    labels = _load(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) % len(SEVERITIES):
        raise DatasetError(
            f"{path} is {labels.dtype} {labels.shape}, not whole numbers for five severities; "
            "fetch it again"
        )
    if not len(labels) or labels.min() < 0 or labels.max() >= classes:
        raise DatasetError(f"{path} has labels that are not 0 to {classes - 1}; fetch it again")
    return labels.astype(np.int64)


def read_array(path: Path, rows: int) -> np.ndarray:
    """The images of a corruption, [rows, 32, 32, 3] uint8, left on the disk.

    Raises:
        DatasetError: the file cannot be read, or has another form.
    """
    array = _load(path)
    expected = (rows, SIZE, SIZE, 3)
    if array.shape != expected or array.dtype != np.uint8:
        raise DatasetError(
            f"{path} is {array.dtype} {array.shape}, not uint8 {expected}; fetch it again"
        )
    return array


def _load(path: Path) -> np.ndarray:
    try:
        array = np.load(plain(path), mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):  # NumPy opens archives of arrays too
            raise ValueError("it is an archive")
    except Exception as error:  # a damaged header raises whatever it likes
        raise DatasetError(f"{path} cannot be read ({cause(error)}); fetch it again") from error
    return array


class _ArraysOnly(pickle._Unpickler):
    """Reads what CIFAR-10's files consist of; a pickle that names anything else runs nothing.

    It is the one in Python: that in C makes a list as long as the largest number of a memo.
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


def _read_batch(path: Path) -> tuple[Tensor, Tensor]:
    try:
        with plain(path).open("rb") as file:
            content = _ArraysOnly(file, encoding="bytes").load()
        data, classes = content[b"data"], content[b"labels"]
        # lists within lists that are one another would have no end, nor arrays that are not there
        if data.dtype != np.uint8 or data.nbytes > path.stat().st_size:
            raise ValueError(f"its data are {data.dtype} {data.shape}")
        if not all(type(label) is int and 0 <= label < len(NAMES) for label in classes):
            raise ValueError(f"its labels are not 0 to {len(NAMES) - 1}")
        pixels = data.reshape(-1, 3, SIZE, SIZE)
        labels = np.array(classes, dtype=np.int64).reshape(len(pixels))
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise DatasetError(
            f"{path} is not CIFAR-10's test batch ({cause(error)}); fetch it again"
        ) from error
    return torch.from_numpy(pixels), torch.from_numpy(labels)
