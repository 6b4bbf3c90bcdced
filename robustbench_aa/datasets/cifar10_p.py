"""CIFAR-10-P as released: an array of sequences per perturbation, [10000, F, 32, 32, 3] uint8.

The archive has no labels. Its images are the test images of CIFAR-10 in their order, so that the
labels of those serve.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from robustbench_aa.datasets.cifar import BATCH, NAMES, SIZE, load_array, read_batch
from robustbench_aa.datasets.content import of_pixels
from robustbench_aa.datasets.dataset import Request, spread
from robustbench_aa.datasets.entry import DatasetEntry, Track, Verdict, zenodo
from robustbench_aa.datasets.labels import Labels
from robustbench_aa.datasets.stored import StoredDataset, as_stored
from robustbench_aa.distortions import frames, perturbations_at
from robustbench_aa.errors import DatasetError, UsageError
from robustbench_aa.types import Distortion


def open_sequences(entry: DatasetEntry, request: Request) -> StoredDataset:
    """Return CIFAR-10-P as released.

    Raises:
        UsageError: the folder is not named, does not exist, or has no such arrays or no labels.
        DatasetError: an array or the labels cannot be read, or have another shape.
    """
    root = entry.folder(request)
    labels = read_labels(root)
    arrays = find_arrays(root)
    opened = {
        cell: read_array(file, cell, len(labels)) for cell, file in arrays.items() if file.exists()
    }

    def stored(cell: Distortion, index: np.ndarray) -> tuple[Tensor, Tensor, np.ndarray]:
        pixels = torch.from_numpy(opened[cell][index])
        label = torch.from_numpy(labels[index])
        return pixels.permute(0, 1, 4, 2, 3).contiguous(), label, of_pixels(pixels)

    digest = hashlib.sha256(labels.tobytes())
    for cell in opened:
        digest.update(f"{arrays[cell].name} {arrays[cell].stat().st_size}\n".encode())
    return StoredDataset(
        name=entry.name,
        classes=len(NAMES),
        labels=Labels("stored", len(np.unique(labels))),
        collection="cifar10",
        size=SIZE,
        distortions=tuple(arrays),
        missing={cell: file for cell, file in arrays.items() if cell not in opened},
        geometry="as they are",
        files_sha256=digest.hexdigest(),
        index=spread(len(labels), request.limit),
        stored=stored,
        files=lambda cell, _index: [arrays[cell]],
        lengths={cell: frames(cell, SIZE) for cell in arrays},
    )


def find_arrays(root: Path) -> dict[Distortion, Path]:
    """Return the file of each perturbation, present or expected, in published order.

    Raises:
        UsageError: there is none.
    """
    inner = root / "CIFAR-10-P"
    folder = inner if inner.is_dir() else root
    files = {as_stored(cell): folder / f"{cell.name}.npy" for cell in perturbations_at(SIZE)}
    if not any(file.exists() for file in files.values()):
        raise UsageError(f"no <perturbation>.npy in {root}; check --data-dir")
    return {cell: file for cell, file in files.items() if file.exists() or not cell.held_out}


def read_array(path: Path, cell: Distortion, images: int) -> np.ndarray:
    """Map the sequences of a perturbation from disk, [images, F, 32, 32, 3] uint8.

    Raises:
        DatasetError: the file cannot be read, or holds another shape or type.
    """
    array = load_array(path)
    expected = (images, frames(cell, SIZE), SIZE, SIZE, 3)
    if array.shape != expected or array.dtype != np.uint8:
        raise DatasetError(
            f"{path} is {array.dtype} {array.shape}, not uint8 {expected}; fetch it again"
        )
    return array


def read_labels(root: Path) -> np.ndarray:
    """Return the labels of CIFAR-10's test images, [N] int64.

    They are read from `cifar-10-batches-py/test_batch` as published, or from `labels.npy`.

    Raises:
        UsageError: the folder has neither.
        DatasetError: the file cannot be read, or does not hold such labels.
    """
    if (root / BATCH).is_file():
        return read_batch(root / BATCH)[1].numpy()
    path = root / "labels.npy"
    if not path.is_file():
        raise UsageError(
            f"CIFAR-10-P has no labels: put {BATCH} of CIFAR-10 into {root}, or labels.npy, an "
            "array with the class of each test image"
        )
    labels = load_array(path)
    whole = labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) > 0
    if not whole or labels.min() < 0 or labels.max() >= len(NAMES):
        raise DatasetError(
            f"{path} is {labels.dtype} {labels.shape}, not a class from 0 to {len(NAMES) - 1} for "
            "each test image; make it again"
        )
    return labels.astype(np.int64)


def verify_sequences(root: Path, _sample: int | None, track: Track) -> Verdict:
    """Check that the array of each perturbation can be read, and that it has all sequences."""
    problems, rows = [], []
    files = find_arrays(root)
    images = len(read_labels(root))
    for cell in track(list(files)):
        try:
            found = len(read_array(files[cell], cell, images))
        except DatasetError as error:
            found = 0
            problems.append(str(error))
        rows.append({"perturbation": cell.name, "images": found, "frames": frames(cell, SIZE)})
    return pd.DataFrame(rows), problems


ENTRIES = (
    DatasetEntry(
        "cifar10-p",
        "CIFAR-10-P as released",
        open_sequences,
        form="arrays",
        variable="CIFAR10_P_DIR",
        verifier=verify_sequences,
        archives={"all": zenodo(2535967, "CIFAR-10-P", "125d6775afc5846ea84584d7524dedff")},
    ),
)
