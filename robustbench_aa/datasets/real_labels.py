"""The reassessed labels of ImageNet's validation set: several labels may be right, or none.

Beyer et al., "Are we done with ImageNet?" (arXiv 2006.07159): a prediction is right if it is one of
the labels of the picture, and pictures without a label are left out.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np

from robustbench_aa.datasets.labels import Scoring, wnids
from robustbench_aa.datasets.pictures import Pictures
from robustbench_aa.errors import DatasetError, UsageError, cause
from robustbench_aa.support.files import read_text

REAL_LABELS = "real.json"
"""The published file of ReaL labels, which is kept beside the class folders or above them."""
LARGEST = 2**24
"""The largest size of the file of ReaL labels, in bytes."""
VALIDATION_IMAGES = 50_000
VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})", re.ASCII)


def any_label(pictures: Pictures, root: Path) -> tuple[Pictures, Scoring]:
    """Return the pictures that have reassessed labels, and the rule that any of them is right.

    Raises:
        UsageError: there is no file of labels, or a picture's name has no number.
        DatasetError: the file of labels cannot be read.
    """
    sets = read_real_labels(root)
    numbers = [_number(file) for file in pictures.files]
    kept = [place for place, number in enumerate(numbers) if sets[number - 1]]
    if not kept:
        raise UsageError(f"no picture of {root} has a label in {REAL_LABELS}; check --data-dir")
    chosen = [sets[numbers[place] - 1] for place in kept]
    accepted = np.full((len(kept), max(map(len, chosen))), -1, dtype=np.int64)
    for row, labels in zip(accepted, chosen, strict=True):
        row[: len(labels)] = labels
    labelled = dataclasses.replace(
        pictures, files=[pictures.files[place] for place in kept], label=accepted[:, 0].copy()
    )
    rule = "any of the reassessed labels of an image"
    left_out = len(numbers) - len(kept)
    return labelled, Scoring(rule=rule, accepted=accepted, left_out=left_out)


def _number(file: Path) -> int:
    """Return the number of a picture of the validation set, from 1."""
    found = VALIDATION_NAME.match(file.name)
    number = int(found[1]) if found else 0
    if not 1 <= number <= VALIDATION_IMAGES:
        raise UsageError(
            f"{file} is not named like ILSVRC2012_val_00000001.JPEG, by which it gets its labels"
        )
    return number


def read_real_labels(root: Path) -> list[list[int]]:
    """Return the reassessed labels of each picture of the validation set, in their order.

    Args:
        root: folder of the pictures; the file is there, or in the folder above.

    Raises:
        UsageError: there is no such file.
        DatasetError: the file cannot be read, or holds something else.
    """
    places = [folder / REAL_LABELS for folder in (root, root.parent)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UsageError(
            f"no {REAL_LABELS} in {root} or above; fetch it by robustbench-aa download "
            f"imagenet-real --output-dir {root}"
        )
    try:
        sets = json.loads(read_text(path, LARGEST))
        if len(sets) != VALIDATION_IMAGES:
            raise ValueError(f"it has {len(sets)} entries, not {VALIDATION_IMAGES:,}")
        if not all(type(one) is int and 0 <= one < len(wnids()) for each in sets for one in each):
            raise ValueError("it has labels that are not 0 to 999")
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read ({cause(error)}); fetch it again") from error
    return [list(each) for each in sets]
