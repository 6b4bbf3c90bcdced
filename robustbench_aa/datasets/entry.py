"""The record of a data set: everything that is known about it before it is opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from robustbench_aa.datasets.dataset import Dataset, Request
from robustbench_aa.errors import UsageError
from robustbench_aa.support.download import Download
from robustbench_aa.types import Distortion

Track = Callable[[Sequence[Distortion]], Iterable[Distortion]]
"""Yields distortions while it shows progress."""
SUBFOLDERS = {
    "IMAGENET_DIR": "imagenet/val",
    "IMAGENET_C_DIR": "imagenet-c",
    "IMAGENET_P_DIR": "imagenet-p",
    "IMAGENET_A_DIR": "imagenet-a",
    "IMAGENET_R_DIR": "imagenet-r",
    "IMAGENET_V2_DIR": "imagenet-v2",
    "IMAGENET_V2_THRESHOLD_DIR": "imagenet-v2-threshold",
    "IMAGENET_V2_TOP_DIR": "imagenet-v2-top",
    "IMAGENET_SKETCH_DIR": "imagenet-sketch",
    "IMAGENET_C_BAR_DIR": "imagenet-c-bar",
    "IMAGENET_3DCC_DIR": "imagenet-3dcc",
    "TINY_IMAGENET_DIR": "tiny-imagenet",
    "TINY_IMAGENET_C_DIR": "tiny-imagenet-c",
}
"""By environment variable, the folder of a data set in a parent folder of several data sets."""
Verdict = tuple[pd.DataFrame, list[str]]
"""A table with a row per cell, and the problems, one line each."""


@dataclass(frozen=True)
class DatasetEntry:
    """A data set that can be named.

    The file that defines a data set also defines its entry; `datasets/__init__.py` registers it.

    Attributes:
        name: the name on the command line and in suites.
        summary: the content of the data set, in a few words.
        opener: a function (entry, request) → data set.
        form: how the data are kept: `embedded`, `pictures`, `videos` or `arrays`.
        variable: the environment variable that names its folder; empty if it is embedded.
        verifier: a function (folder, sample, track) → verdict; None if there is nothing to check.
        archives: the published archives by name.
        obtain: where and how to get the files that cannot be downloaded.
        column: the end of the columns of its metrics, as in `Scoring`; empty for general names.
        data_dir: the folder of its files, instead of the request's; None for that one.
        classes: as in `Request`, instead of the request's; None for that one.
    """

    name: str
    summary: str
    opener: Callable[[DatasetEntry, Request], Dataset]
    form: str = "embedded"
    variable: str = ""
    verifier: Callable[[Path, int | None, Track], Verdict] | None = None
    archives: Mapping[str, Download] = field(default_factory=dict)
    obtain: str = ""
    column: str = ""
    data_dir: str | None = None
    classes: int | None = None

    def __repr__(self) -> str:
        folder = f", data_dir={self.data_dir!r}" if self.data_dir else ""
        return f"load_dataset({self.name!r}{folder})"

    @property
    def embedded(self) -> bool:
        """Whether the package contains the data."""
        return not self.variable

    def open(self, request: Request) -> Dataset:
        """Open the data set.

        Raises:
            UsageError: the folder is not named, does not exist, or does not hold the data set.
            DatasetError: a file cannot be read.
        """
        data_dir, classes = self.data_dir or request.data_dir, self.classes or request.classes
        return self.opener(self, replace(request, data_dir=data_dir, classes=classes))

    def folder(self, request: Request) -> Path:
        """Return the folder of the data set's files.

        The request may name a parent folder of several data sets, which are in `SUBFOLDERS`.

        Raises:
            UsageError: neither the request nor the environment names it, or it does not exist.
        """
        named = request.data_dir or os.environ.get(self.variable)
        if not named:
            raise UsageError(
                f"{self.name} needs its files; name their folder by --data-dir or {self.variable}"
            )
        folder = Path(named)
        if not folder.is_dir():
            raise UsageError(f"no folder {folder}; check --data-dir")
        below = folder / SUBFOLDERS.get(self.variable, "")
        return below if below.is_dir() else folder


def zenodo(record: int, file: str, md5: str) -> Download:
    """Return an archive in a record of Zenodo."""
    return Download(f"https://zenodo.org/records/{record}/files/{file}.tar", "md5", md5)
