"""The embedded handwritten digits: clean, corrupted, perturbed and shifted.

1,797 scans of 8×8 pixels (Alpaydin and Kaynak, UCI Machine Learning Repository, CC BY 4.0),
enlarged once to 32×32 by `data_prep.make_digits`. The first 1,000 scans are the training split,
the last 797 the test split; images are numbered within their split.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.datasets.content import of_pixels
from robustbench_aa.datasets.dataset import Request, spread
from robustbench_aa.datasets.entry import DatasetEntry
from robustbench_aa.datasets.labels import Labels
from robustbench_aa.datasets.live import DISTORTIONS, LiveDataset

ARCHIVE = Path(__file__).with_name("digits.npz")
SIZE = 32
CLASSES = 10
TRAINING_IMAGES = 1000
MOST_IMAGES = {"digits-p": 100, "digits-shift": 200}
"""Test digits of a data set, evenly spread: each becomes about 300 frames, or 100."""

NAMES = {
    "digits": "clean",
    "digits-c": "imagenet-c",
    "digits-shift": "shift",
    "digits-p": "imagenet-p",
}
"""The distortions of each data set, as `live.DISTORTIONS` names them."""


def open_digits(entry: DatasetEntry, request: Request) -> LiveDataset:
    """Return the test digits under the distortions of a data set."""
    images, labels = load_split("test")
    sources = of_pixels(images)
    most = MOST_IMAGES.get(entry.name, len(images))
    return LiveDataset(
        name=entry.name,
        classes=CLASSES,
        labels=Labels("stored", CLASSES),
        collection="digits",
        size=SIZE,
        distortions=tuple(DISTORTIONS[NAMES[entry.name]](SIZE)),
        index=spread(len(images), min(request.limit or most, most)),
        clean=lambda index: (images[index], labels[index], sources[index]),
        clean_sha256=hashlib.sha256(ARCHIVE.read_bytes()).hexdigest(),
        seed=request.seed,
        backend=request.backend,
    )


@cache
def load_split(split: str) -> tuple[Tensor, Tensor]:
    """Return the digits, [N, 3, 32, 32] uint8 RGB, and their classes, [N] int64.

    Args:
        split: `train` (the first 1,000 scans) or `test` (the other 797).
    """
    part = {"train": slice(TRAINING_IMAGES), "test": slice(TRAINING_IMAGES, None)}[split]
    with np.load(ARCHIVE) as archive:
        grey = torch.from_numpy(archive["images"][part])
        labels = torch.from_numpy(archive["labels"][part].astype(np.int64))
    return grey.unsqueeze(1).repeat(1, 3, 1, 1), labels


ENTRIES = (
    DatasetEntry("digits", "handwritten digits, clean", open_digits),
    DatasetEntry("digits-c", "handwritten digits under ImageNet-C's corruptions", open_digits),
    DatasetEntry(
        "digits-shift", "handwritten digits under shifts; --protocol chooses them", open_digits
    ),
    DatasetEntry("digits-p", "handwritten digits under CIFAR-10-P's perturbations", open_digits),
)
