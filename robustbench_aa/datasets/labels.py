"""Labels: the classes of images, from the names of their folders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from robustbench_aa.errors import UsageError
from robustbench_aa.types import NO_LABELS

WNIDS = Path(__file__).with_name("imagenet_wnids.txt")


@cache
def wnids() -> list[str]:
    """Return ImageNet's 1,000 classes; a class's position in this list is its label."""
    return WNIDS.read_text().split()


@dataclass(frozen=True)
class Labels:
    """How the images of a data set are labelled.

    Attributes:
        rule: the origin of a label: `ImageNet wnids` or `known names` if it is the position of a
            folder's name among known classes, `numbered folders`, `sorted folders`, `stored` if
            the labels are kept beside the images, or `none` if the images have no labels.
        present: how many classes have images.
    """

    rule: str
    present: int


UNLABELLED = Labels(NO_LABELS, 0)
"""The labels of images that have none; each image then has the label `NO_LABEL`."""


@dataclass(frozen=True)
class Scoring:
    """The class rule of a data set whose metrics have columns of their own.

    Attributes:
        column: the end of its columns, such as `imagenet_r_200` of `error_imagenet_r_200`; empty
            for a data set whose metrics have the general names, such as `clean_error`.
        rule: the class rule in words.
        among: [C], int64, the classes whose logits are compared; None for all classes.
        accepted: [N, K], int64, all labels of each image, padded with −1; None if each image has
            one label.
        left_out: number of images that are left out because they have no label.
    """

    column: str = ""
    rule: str = ""
    among: np.ndarray | None = None
    accepted: np.ndarray | None = None
    left_out: int = 0

    @property
    def sha256(self) -> str:
        """The SHA-256 of the rule, its classes and labels; empty for `PLAIN`."""
        if self is PLAIN:
            return ""
        digest = hashlib.sha256(self.rule.encode())
        for array in (self.among, self.accepted):
            digest.update(b"all" if array is None else np.ascontiguousarray(array, "<i8").tobytes())
        return digest.hexdigest()

    def description(self) -> dict[str, str | int | None]:
        """Return the rule as `run.json` records it."""
        classes = None if self.among is None else len(self.among)
        return {
            "column": self.column,
            "rule": self.rule,
            "classes": classes,
            "left_out": self.left_out,
        }


PLAIN = Scoring()
"""One label among all classes."""


def label_folders(
    names: list[str], root: Path, known: Sequence[str], classes: int | None
) -> tuple[dict[str, int], int, str]:
    """Return the label of each folder's name, the number of classes, and the rule.

    Folders that are named by known classes have the labels of those, also if some are missing.
    Numbered folders are labelled in the order of their numbers, which must not have gaps. All other
    names are labelled in sorted order.

    Args:
        names: the names of the folders.
        root: the folder that holds them, for messages.
        known: the known classes, in the order of their labels.
        classes: the number of classes, if folders are numbers with gaps; a number is then a label.

    Raises:
        UsageError: known and other names are mixed, or numbers have gaps or repeat.
    """
    place = {name: place for place, name in enumerate(known)}
    strange = [name for name in names if name not in place]
    numbered = bool(names) and all(name.isdecimal() for name in names)
    if classes is not None and not numbered:
        raise UsageError(
            f"--classes {classes} needs numbered class folders, and {root} has {names[:1]}; "
            "leave out --classes"
        )
    if not strange:
        rule = "ImageNet wnids" if known is wnids() else "known names"
        return {name: place[name] for name in names}, len(known), rule
    if len(strange) < len(names):
        raise UsageError(
            f"{root / strange[0]} is not one of the {len(known)} known classes, as other folders "
            f"are; move it out of {root}"
        )
    if numbered:
        return _labels_of_numbers(names, root, classes)
    return {name: place for place, name in enumerate(names)}, len(names), "sorted folders"


def _labels_of_numbers(
    names: list[str], root: Path, classes: int | None
) -> tuple[dict[str, int], int, str]:
    numbers = sorted(map(int, names))
    if len(set(numbers)) < len(names):
        raise UsageError(f"two class folders of {root} have the same number; rename one")
    if classes is not None:
        if numbers[-1] >= classes:
            raise UsageError(
                f"{root} has a class folder {numbers[-1]}, and the largest of {classes} classes is "
                f"{classes - 1}; give the number of all classes"
            )
        return {name: int(name) for name in names}, classes, "numbered folders"
    first = numbers[0]
    if first > 1 or numbers[-1] - first + 1 > len(numbers):
        gap = next(i for i in range(min(first, 1), numbers[-1]) if i not in set(numbers))
        raise UsageError(
            f"the numbers of {root}'s class folders have gaps: there is {numbers[-1]}, but no "
            f"{gap}; if each number is a label, give the number of all classes by --classes"
        )
    return {name: int(name) - first for name in names}, len(names), "numbered folders"
