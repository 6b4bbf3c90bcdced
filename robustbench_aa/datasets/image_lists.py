"""Lists of images: exactly these are evaluated, so that a subset can be shared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from robustbench_aa.errors import UsageError, cause
from robustbench_aa.support.download import Download
from robustbench_aa.support.files import read_text

LARGEST = 2**27
"""The largest size of a list, in bytes: two million lines of 64 characters."""
ROBUSTBENCH = (
    "https://raw.githubusercontent.com/RobustBench/robustbench/"
    "78fcc9e48a07a861268f295a777b975f25155964/robustbench/helper_files/imagenet_test_image_ids.txt"
)
PUBLISHED = {
    "robustbench-5k": Download(
        ROBUSTBENCH, "sha256", "d4121626d07722a0126c35b1563042e46a546f1a05ce705f2cdc635896d58574"
    )
}
"""Published lists: RobustBench's 5,000 images of ImageNet's validation set."""


@dataclass(frozen=True)
class ImageList:
    """A list of images by class folder and file name.

    Attributes:
        path: the file.
        names: `class/name` of each image, in sorted order.
    """

    path: Path
    names: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the sorted names, one a line."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()

    def positions(
        self, dataset: str, files: Sequence[Path], others: Iterable[Path] = ()
    ) -> np.ndarray:
        """Return the positions of the listed images among files, [M] int64, ascending.

        A name without such a file also stands for a file with another suffix, because sequences
        are videos of the same pictures.

        Args:
            dataset: name of the data set, for messages.
            files: the files.
            others: files that may be listed but are left out, because they have no label.

        Raises:
            UsageError: a listed image is missing or ambiguous, two names stand for one image, or
                all are left out.
        """
        places: dict[str, list[int]] = {}
        for place, file in enumerate(files):
            for name in _names(file):
                places.setdefault(name, []).append(place)
        left_out = {name for file in others for name in _names(file)}
        found: dict[int, str] = {}
        missing = []
        for listed in self.names:
            for name in (listed, _without_suffix(listed)):
                if name in places:
                    place = _only(places[name], listed, self.path, dataset)
                    if place in found:
                        raise UsageError(
                            f"{found[place]} and {listed} in {self.path} stand for the same image "
                            f"of {dataset}; leave one out"
                        )
                    found[place] = listed
                    break
                if name in left_out:
                    break
            else:
                missing.append(listed)
        if missing:
            others_too = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UsageError(
                f"{self.path} names {missing[0]}{others_too}, which {dataset} does not have; use a "
                "list of its images, or fetch what is missing"
            )
        if not found:
            raise UsageError(f"no image of {self.path} has a label in {dataset}; use another list")
        return np.array(sorted(found), dtype=np.int64)


def _names(file: Path) -> Iterator[str]:
    """Yield the names by which a list may name a file, with and without its suffix."""
    name = f"{file.parent.name}/{file.name}"
    yield from dict.fromkeys((name, _without_suffix(name)))


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _only(places: Sequence[int], name: str, path: Path, dataset: str) -> int:
    if len(places) > 1:
        raise UsageError(
            f"{name} in {path} stands for {len(places)} images of {dataset}; write the whole name"
        )
    return places[0]


def read_image_list(path: str | Path) -> ImageList:
    """Read a list: a relative path or `class/name` on each line; empty lines do not count.

    Of a path, the last folder and the name count.

    Raises:
        UsageError: the file cannot be read, lists nothing, or has a line that is repeated or
            without a folder; the message names the line.
    """
    file = Path(path)
    try:
        lines = read_text(file, LARGEST).splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the list {file} ({cause(error)}); check --images") from error
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not (text := line.strip()):
            continue
        parts = PurePosixPath(text).parts
        if len(parts) < 2 or ".." in parts:
            raise UsageError(
                f"{file}, line {number}: {text!r} is not CLASS/NAME, such as "
                "n01440764/ILSVRC2012_val_00000293.JPEG"
            )
        name = "/".join(parts[-2:])
        if name in seen:
            raise UsageError(f"{file}, line {number}: {name} is also on line {seen[name]}")
        seen[name] = number
    if not seen:
        raise UsageError(f"{file} lists no images; write one CLASS/NAME a line")
    return ImageList(file, tuple(sorted(seen)))
