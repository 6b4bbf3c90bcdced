"""ImageNet-P as released: `<perturbation>/<class>/<picture>.mp4`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.datasets.dataset import Request
from robustbench_aa.datasets.imagenet import COLLECTION
from robustbench_aa.datasets.live import spread
from robustbench_aa.datasets.pictures import find_pictures, read_all
from robustbench_aa.datasets.stored import StoredDataset, as_stored, data_dir
from robustbench_aa.datasets.videos import SUFFIX, decode_content, decode_video
from robustbench_aa.distortions import perturbations_at
from robustbench_aa.errors import UsageError
from robustbench_aa.types import Distortion

SIZE = 224


def open_sequences(request: Request) -> StoredDataset:
    """The videos of ImageNet-P, or anything of its layout; what is there is found by listing.

    The families' folders that the tars make may be there or not. The ten perturbations that its
    mean flip rate counts are expected, and others that are there are added. Every sequence of a
    perturbation must be as long as its first; a missing one counts as long as the others.

    Raises:
        UsageError: the folder is not named, not there, or has no perturbation in it.
        DatasetError: the first video of a perturbation cannot be read.
    """
    root = data_dir(request, "imagenet-p", "IMAGENET_P_DIR")
    folders = find_sequences(root)
    present = [cell for cell, folder in folders.items() if folder.is_dir()]
    first = folders[present[0]]
    videos = find_pictures(first, suffixes={SUFFIX}, classes=request.classes)
    names = [file.relative_to(first) for file in videos.files]
    lengths = {cell: len(decode_video(folders[cell] / names[0], SIZE)) for cell in present}
    lengths = dict.fromkeys(folders, lengths[present[0]]) | lengths

    def files(cell: Distortion, index: np.ndarray) -> list[Path]:
        return [folders[cell] / names[place] for place in index]

    def stored(cell: Distortion, index: np.ndarray) -> tuple[Tensor, Tensor, np.ndarray]:
        sequences, sources = decode_videos(files(cell, index), lengths[cell], request.workers)
        return sequences, torch.from_numpy(videos.label[index]), sources

    told = " ".join(map(str, present))
    return StoredDataset(
        name="imagenet-p",
        classes=videos.classes,
        labels=videos.labels,
        collection=COLLECTION,
        size=SIZE,
        distortions=tuple(folders),
        missing={cell: folders[cell] for cell in folders if cell not in present},
        geometry=f"CenterCrop {SIZE}",
        files_sha256=f"{videos.sha256(root)} {told}",
        index=spread(len(videos.files), request.limit),
        stored=stored,
        files=files,
        lengths=lengths,
    )


def find_sequences(root: Path) -> dict[Distortion, Path]:
    """The folder of every perturbation that a folder has or should have, in published order.

    Raises:
        UsageError: there is none at all.
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
    """Return the sequences in some files, [B, frames, 3, 224, 224] uint8, and the files' digests.

    Raises:
        DatasetError: some cannot be read or have another length; its `faults` are of all of them.
    """

    def decode(content: bytes, file: Path) -> Tensor:
        return decode_content(content, file, SIZE, frames)

    sequences, sources = read_all(files, decode, workers)
    return torch.stack(sequences), sources
