"""Pictures in folders of classes: finding, labelling and decoding them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from robustbench_aa.errors import DatasetError, UsageError, cause
from robustbench_aa.files import plain

SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What the suffixes stand for; Pillow knows more, and runs Ghostscript for one of them."""
LARGEST = 2**26
"""Pixels of a picture, 8192 × 8192; some threads hold one each."""
LARGEST_RESIZED = 2**22
"""Pixels of a resized picture, which is a strip of 256 px if this is more."""
WNIDS = Path(__file__).with_name("imagenet_wnids.txt")
Part = Callable[[Image.Image], Image.Image]
KEPT = 1000
"""Decoded pictures that are kept, so that the distortions of a shard share its decoding."""


@cache
def wnids() -> list[str]:
    """ImageNet's 1,000 classes; a class's number is its place here, whatever folders there are."""
    return WNIDS.read_text().split()


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
        labels: [N], int64.
        classes: how many classes there are.
        geometry: which square of a picture is read.
        workers: threads that decode.
    """

    files: Sequence[Path]
    labels: np.ndarray
    classes: int
    geometry: Geometry = STORED
    workers: int = field(default_factory=cores)
    _decoded: dict[int, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def read(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """The squares of some of the pictures, [B, 3, size, size] uint8, and their labels [B].

        Raises:
            DatasetError: one of them cannot be read; names it.
        """
        squares = self._kept(index, self.geometry.square)
        return torch.stack(squares), torch.from_numpy(self.labels[index])

    def read_whole(self, index: np.ndarray) -> tuple[list[Tensor], Tensor]:
        """Some of the pictures, resized, [3, H, W] uint8 each, and their labels [B].

        Raises:
            DatasetError: one of them cannot be read; names it.
        """
        return self._kept(index, self.geometry.whole), torch.from_numpy(self.labels[index])

    def _kept(self, index: np.ndarray, part: Part) -> list[Tensor]:
        missing = [place for place in index.tolist() if place not in self._decoded]
        if len(self._decoded) + len(missing) > KEPT:
            self._decoded.clear()
            missing = index.tolist()
        with ThreadPoolExecutor(self.workers) as threads:
            pictures = threads.map(lambda place: decode(self.files[place], part), missing)
            self._decoded.update(zip(missing, pictures, strict=True))
        return [self._decoded[place] for place in index.tolist()]

    def sha256(self, root: Path) -> str:
        """Of the pictures' names, sizes and labels; not of their bytes, which may be terabytes."""
        digest = hashlib.sha256()
        for file, label in zip(self.files, self.labels, strict=True):
            name = file.relative_to(root).as_posix()
            told = f"{name} {file.stat().st_size} {label}\n"
            digest.update(told.encode(errors="surrogateescape"))  # a name may be any bytes
        return digest.hexdigest()


def find_pictures(
    root: Path, known: Sequence[str] | None = None, suffixes: Collection[str] = SUFFIXES
) -> tuple[list[Path], np.ndarray, int]:
    """The pictures of a folder of class folders, their labels, and the number of classes.

    Folders that are named by known classes have the labels of those, also where some are missing.
    Any other names are sorted, whole numbers by their value.

    Args:
        known: the classes, in the order of their labels; None for ImageNet's wnids.
        suffixes: of the files.

    Raises:
        UsageError: there is no picture, or known and other names are mixed.
    """
    known = wnids() if known is None else known
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    label = _label_of(names, root, known)
    found = [(file, label[name]) for name in names for file in _files_of(root / name, suffixes)]
    if not found:
        raise UsageError(f"no pictures in {root}; it should hold a folder a class")
    classes = len(known) if names[0] in known else len(names)
    return [file for file, _ in found], np.array([label for _, label in found]), classes


def _label_of(names: list[str], root: Path, known: Sequence[str]) -> dict[str, int]:
    place = {name: place for place, name in enumerate(known)}
    strange = [name for name in names if name not in place]
    if not strange:
        return {name: place[name] for name in names}
    if len(strange) < len(names):
        raise UsageError(
            f"{root / strange[0]} is not one of the {len(known)} classes that others there are; "
            f"take it out of {root}"
        )
    numbers = all(name.isdecimal() for name in names)
    ordered = sorted(names, key=int) if numbers else names
    return {name: place for place, name in enumerate(ordered)}


def _files_of(folder: Path, suffixes: Collection[str]) -> list[Path]:
    files = sorted(
        Path(entry.path)
        for entry in os.scandir(folder)
        if Path(entry.name).suffix.lower() in suffixes
    )
    if not files:
        raise UsageError(f"no pictures in {folder}; fill it or take it away")
    return files


def decode(path: Path, part: Part) -> Tensor:
    """A part of a picture, [3, H, W] uint8 RGB; grey, palette and CMYK are converted.

    Raises:
        DatasetError: it is missing, truncated, of more than 8 bits, too small or too large; names
            it.
    """
    try:
        with Image.open(plain(path), formats=FORMATS) as picture:
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
