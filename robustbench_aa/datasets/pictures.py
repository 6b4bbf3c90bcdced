"""Pictures in class folders: find and decode them."""

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
from robustbench_aa.datasets.labels import UNLABELLED, Labels, label_folders, wnids
from robustbench_aa.errors import DatasetError, UsageError, cause
from robustbench_aa.support.files import plain
from robustbench_aa.types import NO_LABEL

SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that are decoded; Pillow knows more, and would run Ghostscript for one of them."""
LARGEST = 2**26
"""The largest number of pixels of a picture, 8192 × 8192; each thread may hold one."""
LARGEST_RESIZED = 2**22
"""The largest number of pixels of a resized picture; only strips have more."""
Part = Callable[[Image.Image], Image.Image]
Read = TypeVar("Read")
LISTED = 5
"""The number of unreadable files that an error names."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # exists on Linux only
        return os.cpu_count() or 1


@dataclass(frozen=True)
class Geometry:
    """The square of a photograph that a network sees.

    Attributes:
        size: height and width of the centre crop, in pixels.
        resize: the length of the shorter side before the crop; None to leave it.
        interpolation: Pillow's name of the interpolation.
    """

    size: int
    resize: int | None = None
    interpolation: str = "bilinear"

    def __str__(self) -> str:
        crop = f"CenterCrop {self.size}"
        return f"Resize {self.resize} {self.interpolation}, {crop}" if self.resize else crop

    def whole(self, picture: Image.Image) -> Image.Image:
        """Return the resized picture.

        Raises:
            ValueError: the result would be a strip of millions of pixels.
        """
        if not self.resize:
            return picture
        least = min(picture.size)
        width, height = (self.resize * side // least for side in picture.size)
        if width * height > LARGEST_RESIZED:
            raise ValueError(f"is {picture.width}×{picture.height} px, too long for its width")
        return picture.resize((width, height), Resampling[self.interpolation.upper()])

    def square(self, picture: Image.Image) -> Image.Image:
        """Return the square of a picture.

        Raises:
            ValueError: the picture has too few pixels, or is a strip.
        """
        picture = self.whole(picture)
        width, height = picture.size
        if min(width, height) < self.size:
            raise ValueError(f"is {width}×{height} px, smaller than {self.size}×{self.size}")
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return picture.crop((left, top, left + self.size, top + self.size))


AS_MADE = Geometry(224, resize=256)
"""The geometry with which ImageNet-C was made from ImageNet's validation set."""
STORED = Geometry(224)
"""The geometry with which ImageNet-C's files are read; they were resized when they were made."""


@dataclass(frozen=True)
class Pictures:
    """Pictures with labels.

    Attributes:
        files: the paths.
        label: [N], int64, the class of each picture.
        classes: the number of classes.
        labels: how the pictures are labelled.
        geometry: the square of a picture that is read.
        workers: the number of threads that decode.
    """

    files: Sequence[Path]
    label: np.ndarray
    classes: int
    labels: Labels
    geometry: Geometry = STORED
    workers: int = field(default_factory=cores)

    def read(self, index: np.ndarray) -> tuple[Tensor, Tensor, np.ndarray]:
        """Return the squares of pictures, their labels and the digests of their files.

        Returns:
            [B, 3, size, size] uint8, [B] int64 and [B] uint64.

        Raises:
            DatasetError: some cannot be read; `faults` lists all of them.
        """
        squares, sources = self._decoded(index, self.geometry.square)
        return torch.stack(squares), torch.from_numpy(self.label[index]), sources

    def read_whole(self, index: np.ndarray) -> tuple[list[Tensor], Tensor, np.ndarray]:
        """Return resized pictures, [3, H, W] uint8 each, with labels and digests as in `read`.

        Raises:
            DatasetError: some cannot be read; `faults` lists all of them.
        """
        pictures, sources = self._decoded(index, self.geometry.whole)
        return pictures, torch.from_numpy(self.label[index]), sources

    def at(self, index: np.ndarray) -> list[Path]:
        """Return the files of pictures."""
        return [self.files[place] for place in index.tolist()]

    def _decoded(self, index: np.ndarray, part: Part) -> tuple[list[Tensor], np.ndarray]:
        def decoded(content: bytes, file: Path) -> Tensor:
            return _decode(content, file, part)

        return read_all(self.at(index), decoded, self.workers)

    def sha256(self, root: Path) -> str:
        """Return the SHA-256 of the files' names, sizes and labels.

        The bytes are not included, since they may be terabytes.
        """
        digest = hashlib.sha256()
        for file, label in zip(self.files, self.label, strict=True):
            name = file.relative_to(root).as_posix()
            line = f"{name} {file.stat().st_size} {label}\n"
            digest.update(line.encode(errors="surrogateescape"))  # a name may be any bytes
        return digest.hexdigest()


def find_pictures(
    root: Path,
    known: Sequence[str] | None = None,
    suffixes: Collection[str] = SUFFIXES,
    classes: int | None = None,
) -> Pictures:
    """Return the pictures of a folder of class folders.

    Args:
        root: the folder.
        known: the classes, in the order of their labels; None for ImageNet's wnids.
        suffixes: the suffixes of the files.
        classes: the number of classes, if the folders are numbers with gaps.

    Raises:
        UsageError: a class folder has no pictures, or `label_folders` refuses the names.
    """
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    label, classes, rule = label_folders(names, root, wnids() if known is None else known, classes)
    found = [(file, label[name]) for name in names for file in _files_of(root / name, suffixes)]
    if not found:
        raise UsageError(
            f"no pictures in class folders of {root}; it must hold one folder per class, unless "
            "its pictures are used without labels (--unlabelled)"
        )
    files = [file for file, _ in found]
    return Pictures(
        files,
        np.array([place for _, place in found]),
        classes,
        Labels(rule, len(set(label.values()))),
    )


def find_unlabelled(root: Path) -> Pictures:
    """Return the pictures of a folder and of the folders in it, without labels.

    Raises:
        UsageError: there are none.
    """
    files = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(root)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES
    )
    if not files:
        raise UsageError(f"no pictures in {root}; check --data-dir")
    return Pictures(files, np.full(len(files), NO_LABEL), 0, UNLABELLED)


def _files_of(folder: Path, suffixes: Collection[str]) -> list[Path]:
    files = sorted(
        Path(entry.path)
        for entry in os.scandir(folder)
        if Path(entry.name).suffix.lower() in suffixes
    )
    if not files:
        raise UsageError(f"no pictures in {folder}; fill it or remove it")
    return files


def read_naming_all(
    read: Callable[[np.ndarray], Read], index: np.ndarray, later: np.ndarray
) -> Read:
    """Read images; if some cannot be read, also try later ones, so that the error names all.

    Args:
        read: a function that reads the images at the given positions.
        index: the positions of the images to read.
        later: the positions of the images that come afterwards.

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
        files: the paths.
        decode: a function from a file's content and path to pixels.
        workers: the number of threads.

    Returns:
        The pixels of each file, and a digest of each file's content, [N] uint64.

    Raises:
        DatasetError: some cannot be read; `faults` lists all of them.
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
    return [pixels for pixels, _ in found], np.array(
        [source for _, source in found], dtype=np.uint64
    )


def content_of(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        DatasetError: the file is missing, not a plain file, or cannot be read.
    """
    try:
        return plain(path).read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({cause(error)}); fetch it again") from error


def decode(path: Path, part: Part) -> Tensor:
    """Return a part of a picture, [3, H, W] uint8 RGB; grey, palette and CMYK are converted.

    Raises:
        DatasetError: the picture is missing, truncated, of more than 8 bits, too small or too
            large.
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
            # a conversion from RGB to RGB would copy the picture
            colours = picture if picture.mode == "RGB" else picture.convert("RGB")
            pixels = torch.from_numpy(np.array(part(colours)))
            return pixels.permute(2, 0, 1).contiguous()
    except (DatasetError, MemoryError):
        raise
    except ValueError as error:
        raise DatasetError(f"{path} {cause(error)}") from error
    except Exception as error:  # Pillow raises many types for a damaged file
        raise DatasetError(f"{path} cannot be read ({cause(error)}); fetch it again") from error
