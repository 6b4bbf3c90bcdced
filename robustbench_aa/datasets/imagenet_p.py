"""ImageNet-P as released: `<perturbation>/<class>/<picture>.mp4`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.datasets.dataset import Request
from robustbench_aa.datasets.entry import DatasetEntry, Track, Verdict, zenodo
from robustbench_aa.datasets.pictures import find_pictures, read_all
from robustbench_aa.datasets.stored import StoredDataset, as_stored
from robustbench_aa.datasets.verify import verify_class_folders
from robustbench_aa.datasets.videos import SUFFIX, decode_content, decode_video, require_video
from robustbench_aa.distortions import perturbations_at
from robustbench_aa.errors import UsageError
from robustbench_aa.types import PHOTOGRAPHS, Distortion

SIZE = 224


def open_sequences(entry: DatasetEntry, request: Request) -> StoredDataset:
    """Return the videos of ImageNet-P, or of other photographs with the same layout.

    The perturbations are found by listing the folder, at the top or one level down, in the folders
    of the archives. The ten perturbations that the mean flip rate counts are expected; others are
    included if they are present. All sequences of a perturbation must be as long as its first; a
    missing perturbation counts as long as the first present one.

    Raises:
        UsageError: the folder is not named, does not exist, or has no perturbations; or the extra
            `video` is not installed.
        DatasetError: the first video of a perturbation cannot be read.
    """
    root = entry.folder(request)
    folders = find_sequences(root)
    present = [cell for cell, folder in folders.items() if folder.is_dir()]
    first = folders[present[0]]
    videos = find_pictures(first, suffixes={SUFFIX}, classes=request.classes)
    names = [str(file.relative_to(first)) for file in videos.files]
    lengths = {cell: len(decode_video(folders[cell] / names[0], SIZE)) for cell in present}
    lengths = dict.fromkeys(folders, lengths[present[0]]) | lengths

    def files(cell: Distortion, index: np.ndarray) -> list[str]:
        folder = f"{folders[cell]}{os.sep}"
        return [folder + names[place] for place in index.tolist()]

    def stored(cell: Distortion, index: np.ndarray) -> tuple[Tensor, Tensor, np.ndarray]:
        sequences, sources = decode_videos(
            [*map(Path, files(cell, index))], lengths[cell], request.workers
        )
        return sequences, torch.from_numpy(videos.label[index]), sources

    cells = " ".join(map(str, present))
    return StoredDataset(
        name=entry.name,
        classes=videos.classes,
        labels=videos.labels,
        collection=PHOTOGRAPHS,
        size=SIZE,
        distortions=tuple(folders),
        missing={cell: folders[cell] for cell in folders if cell not in present},
        geometry=f"CenterCrop {SIZE}",
        files_sha256=f"{videos.sha256(root)} {cells}",
        index=request.selected(entry.name, videos.files),
        listed=request.listed,
        stored=stored,
        files=files,
        lengths=lengths,
    )


def find_sequences(root: Path) -> dict[Distortion, Path]:
    """Return the folder of each perturbation, present or expected, in published order.

    Raises:
        UsageError: there is none.
    """
    cells = {cell.name: as_stored(cell) for cell in perturbations_at(SIZE)}
    found = {
        folder.name: folder
        for pattern in ("*", "*/*")
        for folder in sorted(root.glob(pattern))
        if folder.name in cells and folder.is_dir()
    }
    if not found:
        raise UsageError(f"no <perturbation> folders in {root}; check --data-dir")
    return {
        cell: found.get(name, root / name)
        for name, cell in cells.items()
        if name in found or not cell.held_out
    }


def decode_videos(files: Sequence[Path], frames: int, workers: int) -> tuple[Tensor, np.ndarray]:
    """Return the sequences in files, [B, frames, 3, 224, 224] uint8, and the files' digests.

    Raises:
        DatasetError: some cannot be read or have another length; `faults` lists all of them.
    """

    def decode(content: bytes, file: Path) -> Tensor:
        return decode_content(content, file, SIZE, frames)

    sequences, sources = read_all(files, decode, workers)
    return torch.stack(sequences), sources


def verify_sequences(root: Path, sample: int | None, track: Track) -> Verdict:
    """Check the videos of ImageNet-P: all of a perturbation have the same length."""
    require_video()

    def length(file: Path) -> str:
        return f"{len(decode_video(file, SIZE))} frames long"

    return verify_class_folders(find_sequences(root), {SUFFIX}, length, None, sample, track)


ENTRIES = (
    DatasetEntry(
        "imagenet-p",
        "ImageNet-P as released, or sequences in its layout",
        open_sequences,
        form="videos",
        variable="IMAGENET_P_DIR",
        verifier=verify_sequences,
        archives={
            "blur": zenodo(3565846, "blur", "869b2d2fb1604d1baa4316b5ecc9fdea"),
            "digital": zenodo(3565846, "digital", "8c1f73e4912812788e2fdb637cd55372"),
            "noise": zenodo(3565846, "noise", "619b37b5139ce764f77ce3bed3aee837"),
            "weather": zenodo(3565846, "weather", "a597ff6db8c6fb0dbcd6eb12ed620002"),
        },
    ),
)
