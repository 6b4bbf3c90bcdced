"""Pictures in folders of classes: finding, labelling and decoding them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from robustbench_aa.datasets.content import digest
from robustbench_aa.datasets.labels import Labels, label_folders, wnids
from robustbench_aa.errors import DatasetError, UsageError, cause
from robustbench_aa.support.files import plain

SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What the suffixes stand for; Pillow knows more, and runs Ghostscript for one of them."""
LARGEST = 2**26
"""Pixels of a picture, 8192 × 8192; some threads hold one each."""
LARGEST_RESIZED = 2**22
"""Pixels of a resized picture, which is a strip of 256 px if this is more."""
Part = Callable[[Image.Image], Image.Image]
Read = TypeVar("Read")
LISTED = 5
"""How many unreadable files an error names."""


def cores() -> int:
    """How many cores this process may use, which on a shared machine are not all."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # there is none on other systems
        return os.cpu_count() or 1


@dataclass(frozen=True)
class Geometry:
    """Which square of a photograph a network sees.

    Attributes:
        size: height and width of the middle that is cut out, in pixels.
        resize: the length that the shorter side is brought to before; None for none.
        interpolation: what it is resized by, as Pillow calls it.
    """

    size: int
    resize: int | None = None
    interpolation: str = "bilinear"

    def __str__(self) -> str:
        crop = f"CenterCrop {self.size}"
        return f"Resize {self.resize} {self.interpolation}, {crop}" if self.resize else crop

    def whole(self, picture: Image.Image) -> Image.Image:
        """A picture, resized.

        Raises:
            ValueError: it would become millions of pixels long.
        """
        if not self.resize:
            return picture
        least = min(picture.size)
        width, height = (self.resize * side // least for side in picture.size)
        if width * height > LARGEST_RESIZED:
            raise ValueError(f"is {picture.width}×{picture.height} px, too long for its width")
        return picture.resize((width, height), Resampling[self.interpolation.upper()])

    def square(self, picture: Image.Image) -> Image.Image:
        """The square of a picture.

        Raises:
            ValueError: there are too few pixels for it, or it is a mere strip.
        """
        picture = self.whole(picture)
        width, height = picture.size
        if min(width, height) < self.size:
            raise ValueError(f"is {width}×{height} px, smaller than {self.size}×{self.size}")
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return picture.crop((left, top, left + self.size, top + self.size))


AS_MADE = Geometry(224, resize=256)
"""How ImageNet-C was made of ImageNet's validation set."""
STORED = Geometry(224)
"""How ImageNet-C's files are read: they were resized when they were made."""


@dataclass(frozen=True)
class Pictures:
    """Pictures with labels.

    Attributes:
        files: their paths.
        label: [N], int64, the class of each.
        classes: how many classes there are.
        labels: how they are labelled.
        geometry: which square of a picture is read.
        workers: threads that decode.
    """

    files: Sequence[Path]
    label: np.ndarray
    classes: int
    labels: Labels
    geometry: Geometry = STORED
    workers: int = field(default_factory=cores)

    def read(self, index: np.ndarray) -> tuple[Tensor, Tensor, np.ndarray]:
        """Return the squares of some pictures, their labels and the digests of their files.

        [B, 3, size, size] uint8, [B] int64 and [B] uint64.

        Raises:
            DatasetError: some cannot be read; its `faults` are of all of them.
        """
        squares, sources = self._decoded(index, self.geometry.square)
        return torch.stack(squares), torch.from_numpy(self.label[index]), sources

    def read_whole(self, index: np.ndarray) -> tuple[list[Tensor], Tensor, np.ndarray]:
        """Return some pictures, resized, [3, H, W] uint8 each; labels and digests as in `read`.

        Raises:
            DatasetError: some cannot be read; its `faults` are of all of them.
        """
        pictures, sources = self._decoded(index, self.geometry.whole)
        return pictures, torch.from_numpy(self.label[index]), sources

    def at(self, index: np.ndarray) -> list[Path]:
        """Return the files of some pictures."""
        return [self.files[place] for place in index.tolist()]

    def _decoded(self, index: np.ndarray, part: Part) -> tuple[list[Tensor], np.ndarray]:
        def decoded(content: bytes, file: Path) -> Tensor:
            return _decode(content, file, part)

        return read_all(self.at(index), decoded, self.workers)

    def sha256(self, root: Path) -> str:
        """Return the SHA-256 of the pictures' names, sizes and labels.

        Not of their bytes, which may be terabytes.
        """
        digest = hashlib.sha256()
        for file, label in zip(self.files, self.label, strict=True):
            name = file.relative_to(root).as_posix()
            told = f"{name} {file.stat().st_size} {label}\n"
            digest.update(told.encode(errors="surrogateescape"))  # a name may be any bytes
        return digest.hexdigest()


def find_pictures(
    root: Path,
    known: Sequence[str] | None = None,
    suffixes: Collection[str] = SUFFIXES,
    classes: int | None = None,
) -> Pictures:
    """Return the pictures of a folder of class folders.

    Folders that are named by known classes have the labels of those, also where some are missing.
    Numbered folders are labelled in the order of their numbers, which may not have gaps unless
    `classes` declares them. Any other names are sorted.

    Args:
        root: the folder.
        known: the classes, in the order of their labels; None for ImageNet's wnids.
        suffixes: of the files.
        classes: how many classes there are, where folders are numbered with gaps: a folder's
            number is then its label.

    Raises:
        UsageError: there is no picture; known and other names are mixed; or numbers have gaps.
    """
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    label, classes, rule = label_folders(names, root, wnids() if known is None else known, classes)
    found = [(file, label[name]) for name in names for file in _files_of(root / name, suffixes)]
    if not found:
        raise UsageError(f"no pictures in {root}; it should hold a folder a class")
    files = [file for file, _ in found]
    return Pictures(
        files, np.array([of for _, of in found]), classes, Labels(rule, len(set(label.values())))
    )


def _files_of(folder: Path, suffixes: Collection[str]) -> list[Path]:
    files = sorted(
        Path(entry.path)
        for entry in os.scandir(folder)
        if Path(entry.name).suffix.lower() in suffixes
    )
    if not files:
        raise UsageError(f"no pictures in {folder}; fill it or take it away")
    return files


def read_naming_all(
    read: Callable[[np.ndarray], Read], index: np.ndarray, later: np.ndarray
) -> Read:
    """Read images; where some cannot be read, name all that cannot, also those that come later.

    Args:
        read: reads the images at some places.
        index: the places of the images that are wanted now.
        later: the places of the images that would be read afterwards.

    Raises:
        DatasetError: some files cannot be read.
    """
    try:
        return read(index)
    except DatasetError as error:
        faults = list(error.faults)
    for start in range(0, len(later), len(index)):
        try:
            read(later[start : start + len(index)])
        except DatasetError as error:
            faults += error.faults
    way_out = "robustbench-aa verify checks all files"
    if len(faults) == 1:
        raise DatasetError(f"{faults[0]}; {way_out}")
    more = f"; and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
    listed = "; ".join(faults[:LISTED])
    raise DatasetError(f"{len(faults)} files cannot be used: {listed}{more}; {way_out}", faults)


def read_all(
    files: Sequence[Path], decode: Callable[[bytes, Path], Tensor], workers: int
) -> tuple[list[Tensor], np.ndarray]:
    """Read files in threads, each once.

    Args:
        files: their paths.
        decode: makes pixels of a file's content.
        workers: how many threads.

    Returns:
        The pixels of each, and a digest of each file's content, [N] uint64.

    Raises:
        DatasetError: some cannot be read; its `faults` are of all of them.
    """
    faults: list[str] = []

    def tried(file: Path) -> tuple[Tensor, int] | None:
        try:
            content = content_of(file)
            return decode(content, file), digest(content)
        except DatasetError as error:
            faults.extend(error.faults)
            return None

    with ThreadPoolExecutor(workers) as threads:
        found = [read for read in threads.map(tried, files) if read is not None]
    if faults:
        raise DatasetError(min(faults), sorted(faults))
    return [pixels for pixels, _ in found], np.array([of for _, of in found], dtype=np.uint64)


def content_of(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        DatasetError: it is missing, no plain file or cannot be read; names it.
    """
    try:
        return plain(path).read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({cause(error)}); fetch it again") from error


def decode(path: Path, part: Part) -> Tensor:
    """Return a part of a picture, [3, H, W] uint8 RGB; grey, palette and CMYK are converted.

    Raises:
        DatasetError: it is missing, truncated, of more than 8 bits, too small or too large; names
            it.
    """
    return _decode(content_of(path), path, part)


def _decode(content: bytes, path: Path, part: Part) -> Tensor:
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as picture:
            if picture.mode.startswith(("I", "F")):
                raise DatasetError(f"{path} has more than 8 bits a channel; convert it to 8 bits")
            if picture.width * picture.height > LARGEST:
                raise ValueError(
                    f"is {picture.width}×{picture.height} px, more than {LARGEST:,} pixels; "
                    "make it smaller"
                )
            # a conversion to what it is already would hold it twice
            colours = picture if picture.mode == "RGB" else picture.convert("RGB")
            pixels = torch.from_numpy(np.array(part(colours)))
            return pixels.permute(2, 0, 1).contiguous()
    except (DatasetError, MemoryError):
        raise
    except ValueError as error:
        raise DatasetError(f"{path} {cause(error)}") from error
    except Exception as error:  # Pillow raises whatever it likes of a damaged file
        raise DatasetError(f"{path} cannot be read ({cause(error)}); fetch it again") from error
