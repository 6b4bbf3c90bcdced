"""Whether the files of a data set are complete and can be read."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image

from robustbench_aa.datasets import cifar, imagenet
from robustbench_aa.datasets.imagenet import find_cells
from robustbench_aa.datasets.imagenet_p import find_sequences
from robustbench_aa.datasets.live import spread
from robustbench_aa.datasets.pictures import AS_MADE, STORED, SUFFIXES, decode, wnids
from robustbench_aa.datasets.videos import SUFFIX, decode_video
from robustbench_aa.distortions.severities import SEVERITIES
from robustbench_aa.errors import DatasetError, UnknownName, UsageError
from robustbench_aa.types import CLEAN, Distortion

LISTED = 5
"""How many files or classes of one kind of problem are named."""
Track = Callable[[Sequence[Distortion]], Iterable[Distortion]]
"""Shows progress over cells."""
Trait = Callable[[Path], str]
Verdict = tuple[pd.DataFrame, list[str]]
"""A row a cell, and what is wrong, a line each."""


@dataclass
class _Cell:
    """What was found in a folder of class folders."""

    names: list[str]
    classes: Counter[str]
    decoded: int = 0
    problems: list[str] = field(default_factory=list)

    def row(self, cell: Distortion) -> dict[str, object]:
        counts = self.classes.values()
        return {
            "cell": str(cell),
            "images": len(self.names),
            "classes": len(self.classes),
            "images_a_class": f"{min(counts, default=0)} to {max(counts, default=0)}",
            "decoded": self.decoded,
            "problems": len(self.problems),
        }


def verify(name: str, root: Path, sample: int | None = None, track: Track = iter) -> Verdict:
    """Checks the files of a data set.

    Args:
        name: of the data set.
        root: the folder of its files.
        sample: how many pictures of each cell are decoded, evenly spread; None for all.
        track: shows progress over the cells.

    Raises:
        UnknownName: no such data set, or none that is files.
        UsageError: there is no such folder, or it has none of the data set's files at all.
    """
    if name not in VERIFIERS:
        raise UnknownName("data set of files", name, VERIFIERS)
    if not root.is_dir():
        raise UsageError(f"no folder {root}; check --data-dir")
    if sample is not None and sample < 1:
        raise UsageError(f"sample {sample} decodes nothing; use at least 1")
    return VERIFIERS[name](root, sample, track)


def _verify_stored(root: Path, sample: int | None, track: Track) -> Verdict:
    def size(file: Path) -> str:
        decode(file, STORED.square)
        with Image.open(file) as picture:
            return f"{picture.size[0]}×{picture.size[1]} px"

    expected = f"{STORED.size}×{STORED.size} px"
    return _verify_files(find_cells(root), SUFFIXES, size, expected, sample, track)


def _verify_clean(root: Path, sample: int | None, track: Track) -> Verdict:
    def readable(file: Path) -> str:
        decode(file, AS_MADE.square)
        return "readable"

    return _verify_files({CLEAN: root}, SUFFIXES, readable, None, sample, track)


def _verify_sequences(root: Path, sample: int | None, track: Track) -> Verdict:
    def length(file: Path) -> str:
        return f"{len(decode_video(file, STORED.size))} frames long"

    return _verify_files(find_sequences(root), {SUFFIX}, length, None, sample, track)


def _verify_files(
    folders: dict[Distortion, Path],
    suffixes: Collection[str],
    trait: Trait,
    expected: str | None,
    sample: int | None,
    track: Track,
) -> Verdict:
    """Checks folders of class folders of files.

    Args:
        trait: what the files of a cell should have in common, in words; decodes them.
        expected: what it should be; None for what most files of a cell have.
    """
    found = {}
    for cell in track(list(folders)):
        found[cell] = _look_into(folders[cell], suffixes)
        if found[cell].names:
            _decode(folders[cell], found[cell], trait, expected, sample)
    listings = Counter(tuple(cell.names) for cell in found.values() if cell.names)
    if listings:
        usual = set(listings.most_common(1)[0][0])
        for inside in found.values():
            if inside.names:
                inside.problems += _differences(set(inside.names), usual)
    table = pd.DataFrame([of.row(cell) for cell, of in found.items()])
    told = [f"{folders[cell]}: {text}" for cell, of in found.items() for text in of.problems]
    return table, told


def _look_into(folder: Path, suffixes: Collection[str]) -> _Cell:
    if not folder.is_dir():
        return _Cell([], Counter(), problems=["is not there"])
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    names = [
        sys.intern(f"{name}/{entry}")  # the other cells have the same
        for name in classes
        for entry in sorted(entry.name for entry in os.scandir(folder / name))
        if Path(entry).suffix.lower() in suffixes
    ]
    counts = Counter(dict.fromkeys(classes, 0))
    counts.update(name.partition("/")[0] for name in names)
    cell = _Cell(names, counts)
    if not names:
        cell.problems.append("has no files")
    empty = [name for name in classes if not counts[name]]
    unknown = [name for name in classes if name not in set(wnids())]
    if empty:
        cell.problems.append(f"{_listed('class', empty)} without files")
    if unknown and len(unknown) < len(classes):
        cell.problems.append(f"{_listed('class', unknown)} not of ImageNet's")
    return cell


def _decode(
    folder: Path, cell: _Cell, trait: Trait, expected: str | None, sample: int | None
) -> None:
    """Decodes the files of a cell, and notes what cannot be read or is unlike the others."""
    chosen = [cell.names[place] for place in spread(len(cell.names), sample)]

    def trait_or_fault(name: str) -> tuple[str, bool]:
        try:
            return trait(folder / name), True
        except DatasetError as error:
            return str(error).removeprefix(f"{folder}/"), False

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        results = list(threads.map(trait_or_fault, chosen))
    traits = Counter(told for told, fine in results if fine)
    if expected is None and traits:
        expected = traits.most_common(1)[0][0]
    for name, (told, fine) in zip(chosen, results, strict=True):
        if not fine:
            cell.problems.append(told)
        elif told != expected:
            cell.problems.append(f"{name} is {told}, not {expected}")
    cell.decoded = len(chosen)


def _differences(names: set[str], expected: set[str]) -> Iterator[str]:
    if lacking := sorted(expected - names):
        yield f"lacks {_listed('file', lacking)} that other cells have"
    if strange := sorted(names - expected):
        yield f"has {_listed('file', strange)} that other cells have not"


def _listed(noun: str, names: list[str]) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    named = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
    return f"{len(names)} {noun if len(names) == 1 else plural} ({named})"


def _verify_arrays(classes: int, root: Path, _sample: int | None, track: Track) -> Verdict:
    problems, rows = [], []
    files = cifar.find_arrays(root)
    count = 10_000 * len(SEVERITIES)
    try:
        count = len(cifar.read_labels(root, classes))
    except DatasetError as error:
        problems.append(str(error))
    for cell in track([cell for cell in files if cell.severity == 1]):
        try:
            images = len(cifar.read_array(files[cell], count))
        except DatasetError as error:
            images = 0
            problems.append(str(error))
        rows.append({"corruption": cell.name, "images": images, "severities": len(SEVERITIES)})
    return pd.DataFrame(rows), problems


VERIFIERS: dict[str, Callable[[Path, int | None, Track], Verdict]] = {
    "imagenet-c": _verify_stored,
    "imagenet-p": _verify_sequences,
    **dict.fromkeys(imagenet.LIVE, _verify_clean),
    "cifar10-c": partial(_verify_arrays, 10),
    "cifar100-c": partial(_verify_arrays, 100),
}
