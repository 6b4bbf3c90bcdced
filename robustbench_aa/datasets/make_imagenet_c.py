"""Make ImageNet-C from photographs, in the layout of the released files.

The files are `<corruption>/<severity>/<class>/<picture>`, JPEG of 224 × 224 px and quality 85.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.datasets.pictures import cores, find_pictures
from robustbench_aa.distortions import corruptions_at
from robustbench_aa.distortions.corruptions.jpeg import STORED_QUALITY
from robustbench_aa.distortions.severities import check_severity
from robustbench_aa.errors import UnknownName, UsageError, cause
from robustbench_aa.support.checks import whole_number
from robustbench_aa.support.devices import choose_device
from robustbench_aa.support.files import read_text
from robustbench_aa.support.progress import progress
from robustbench_aa.types import Distortion, Shard, shards

LARGEST = 2**20
"""The largest size of `made.json`, in bytes."""


@dataclass(frozen=True)
class Part:
    """Photographs under one corruption, and the files to write."""

    cell: Distortion
    images: Shard
    files: list[Path]

    @property
    def missing(self) -> bool:
        """Whether any of the files is missing."""
        return not all(file.exists() for file in self.files)


def make_imagenet_c(
    source: Path,
    to: Path,
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = (),
    seed: int = 0,
    batch_size: int = 64,
    device: str | None = None,
) -> tuple[int, int]:
    """Corrupt the photographs of a folder and write those files that do not exist yet.

    Args:
        source: a folder of clean photographs, in class folders.
        to: the folder to fill.
        corruptions: the corruptions to make; all if empty.
        severities: the severities to make, 1 to 5; all if empty.
        seed: the seed of the corruptions.
        batch_size: images per batch.
        device: a torch device; None for a GPU if there is one.

    Returns:
        The numbers of pictures written and of cells made.

    Raises:
        UnknownName: there is no such corruption.
        UsageError: a severity or the device does not exist, `batch_size` is not positive, there
            are no photographs, or the folder holds files that were made from others.
    """
    cells = _chosen(corruptions, severities)
    batch_size = whole_number("batch_size", batch_size, least=1)
    device = choose_device(device)
    # the file that is written is itself the final JPEG of quality 85
    request = Request(data_dir=str(source), seed=seed, stored_jpeg=False)
    dataset = open_dataset("imagenet-c-live", request)
    keep_apart(to, {"photographs": dataset.sha256, "seed": seed}, cells)
    photographs = [file.relative_to(source) for file in find_pictures(source).files]
    todo = [part for part in _parts(cells, photographs, to, batch_size) if part.missing]
    total = sum(len(part.files) for part in todo)
    with (
        progress(total, Console(stderr=True), "pictures") as advance,
        ThreadPoolExecutor(cores()) as threads,
    ):
        for part in todo:
            for batch in dataset.read(part.cell, part.images, batch_size, torch.device(device)):
                frames = batch.frames[:, 0].permute(0, 2, 3, 1).cpu().numpy()
                list(threads.map(_write, frames, part.files))
            advance(f"{dataset.name} {part.cell}", len(part.files))
    return total, len(cells)


def _chosen(names: Sequence[str], severities: Sequence[int]) -> list[Distortion]:
    cells = corruptions_at(224)
    known = dict.fromkeys(cell.name for cell in cells)
    for name in names:
        if name not in known:
            raise UnknownName("corruption", name, known)
    for severity in severities:
        check_severity(severity)
    return [
        cell
        for cell in cells
        if (not names or cell.name in names) and (not severities or cell.severity in severities)
    ]


def keep_apart(to: Path, how: dict[str, object], cells: Iterable[Distortion]) -> None:
    """Refuse to mix files of other photographs, seeds or versions in a folder.

    Args:
        to: the folder; its `made.json` describes its files.
        how: the description that all of its files share.
        cells: the distortions to write.

    Raises:
        UsageError: the folder holds other files.
    """
    record = to / "made.json"
    versions = {cell.name: f"{cell.version} {cell.source}".strip() for cell in cells}
    try:
        made: dict[str, Any] = json.loads(read_text(record, LARGEST)) if record.exists() else how
        earlier: dict[str, object] = dict(made.get("versions", {}))
        common = {key: value for key, value in made.items() if key != "versions"}
    except (OSError, ValueError, RecursionError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{record} cannot be read ({cause(error)}); name another --output-dir"
        ) from error
    if common != how or any(
        earlier.get(name, version) != version for name, version in versions.items()
    ):
        raise UsageError(
            f"{to} was made of other photographs, with another seed or by another version; "
            "name another --output-dir or delete it"
        )
    to.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(how | {"versions": earlier | versions}) + "\n")


def _parts(cells: list[Distortion], photographs: list[Path], to: Path, size: int) -> Iterator[Part]:
    for images in shards(len(photographs), size):  # all cells of the same photographs at once
        for cell in cells:
            folder = to / cell.name / str(cell.severity)
            named = photographs[images.start : images.stop]
            yield Part(cell, images, [folder / _as_jpeg(name) for name in named])


def _as_jpeg(name: Path) -> Path:
    return name if name.suffix.lower() in (".jpeg", ".jpg") else Path(f"{name}.JPEG")


def _write(frame: np.ndarray, file: Path) -> None:
    """Write a picture through a temporary file, so that a file of its name is complete."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    Image.fromarray(frame).save(part, "JPEG", quality=STORED_QUALITY, optimize=True)
    part.replace(file)
