"""Checks of folders of class folders: whether files are complete and can be read."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from robustbench_aa.datasets.dataset import spread
from robustbench_aa.datasets.entry import Track, Verdict
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.errors import DatasetError
from robustbench_aa.types import Distortion

LISTED = 5
"""How many files or classes of one kind of problem are named."""
Trait = Callable[[Path], str]


@dataclass
class _Cell:
    """The files found in a folder of class folders."""

    names: list[str]
    classes: Counter[str]
    decoded: int = 0
    problems: list[str] = field(default_factory=list)

    def row(self, cell: Distortion) -> dict[str, object]:
        """Return the cell's row of the table."""
        counts = self.classes.values()
        return {
            "cell": str(cell),
            "images": len(self.names),
            "classes": len(self.classes),
            "images_a_class": f"{min(counts, default=0)} to {max(counts, default=0)}",
            "decoded": self.decoded,
            "problems": len(self.problems),
        }


def verify_class_folders(
    folders: Mapping[Distortion, Path],
    suffixes: Collection[str],
    trait: Trait,
    expected: str | None,
    sample: int | None,
    track: Track,
) -> Verdict:
    """Check that all cells have the same files, and that the files can be read.

    Args:
        folders: the folder of each cell, which holds class folders.
        suffixes: the suffixes of the files.
        trait: decodes a file and returns a description that must be equal for all files of a cell.
        expected: the trait that files must have; None for that of most files of the cell.
        sample: how many files of each cell to decode, evenly spread; None for all.
        track: shows progress over the cells.
    """
    found = {}
    for cell in track(list(folders)):
        found[cell] = _list_files(folders[cell], suffixes)
        if found[cell].names:
            _decode(folders[cell], found[cell], trait, expected, sample)
    listings = Counter(tuple(files.names) for files in found.values() if files.names)
    if listings:
        usual = set(listings.most_common(1)[0][0])
        for files in found.values():
            if files.names:
                files.problems += _differences(set(files.names), usual)
    table = pd.DataFrame([files.row(cell) for cell, files in found.items()])
    problems = [
        f"{folders[cell]}: {text}" for cell, files in found.items() for text in files.problems
    ]
    return table, problems


def _list_files(folder: Path, suffixes: Collection[str]) -> _Cell:
    if not folder.is_dir():
        return _Cell([], Counter(), problems=["is not there"])
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    names = [
        sys.intern(f"{name}/{entry}")  # saves memory: the other cells have the same names
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
    """Decode files of a cell, and note which cannot be read or have another trait."""
    chosen = [cell.names[place] for place in spread(len(cell.names), sample)]

    def trait_or_fault(name: str) -> tuple[str, bool]:
        try:
            return trait(folder / name), True
        except DatasetError as error:
            return str(error).removeprefix(f"{folder}/"), False

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        results = list(threads.map(trait_or_fault, chosen))
    traits = Counter(text for text, fine in results if fine)
    if expected is None and traits:
        expected = traits.most_common(1)[0][0]
    for name, (text, fine) in zip(chosen, results, strict=True):
        if not fine:
            cell.problems.append(text)
        elif text != expected:
            cell.problems.append(f"{name} is {text}, not {expected}")
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
