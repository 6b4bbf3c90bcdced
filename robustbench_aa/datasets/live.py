"""Data sets whose distorted frames are computed from clean images on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustbench_aa import distortions
from robustbench_aa.datasets.content import sources_of, stamp
from robustbench_aa.datasets.dataset import copied
from robustbench_aa.datasets.labels import PLAIN, Labels, Scoring
from robustbench_aa.datasets.pictures import read_naming_all
from robustbench_aa.distortions.corruptions.jpeg import STORED_QUALITY
from robustbench_aa.support.stage_times import stage
from robustbench_aa.types import CLEAN, Batch, Distortion, Shard

Clean = tuple[Tensor | list[Tensor], Tensor, np.ndarray]
"""Images [B, 3, H, W] uint8 or [3, H, W] each, labels [B] int64, and sources [B] uint64."""


DISTORTIONS: Mapping[str, Callable[[int], list[Distortion]]] = {
    "clean": lambda _size: [CLEAN],
    "imagenet-c": lambda size: [CLEAN, *distortions.corruptions_at(size)],
    "imagenet-p": distortions.perturbations_at,
    "shift": lambda _size: distortions.shifts_by("circular"),
}
"""The distortions of images of a size, by the benchmark that defined them."""


@dataclass(frozen=True)
class LiveDataset:
    """Clean images and the distortions that are applied to them on the device.

    Attributes:
        name, classes, size, distortions, missing, geometry: as in `Dataset`.
        index: [images], int64, the positions of the selected images in the whole data set.
        clean: index → images, as large as the distortions need them, labels, and digests of the
            bytes that each was read from.
        clean_sha256: the SHA-256 of the clean images and labels.
        labels, collection: as in `Dataset`.
        seed: the seed of the distortions.
        backend: as in `Request`.
        stored_jpeg: as in `Request`.
        original: like `clean`, but images as they were before they were resized, for perturbations
            that act on those; None if nothing was resized.
        files: index → the files that images are read from; None if they have none.
        keep: bytes of clean images to keep in memory, so that a shard is decoded once for all
            distortions.
        scoring: as in `Dataset`.
        listed: as in `Request`.
    """

    name: str
    classes: int
    size: int
    distortions: tuple[Distortion, ...]
    index: np.ndarray
    clean: Callable[[np.ndarray], Clean]
    clean_sha256: str
    labels: Labels
    collection: str
    seed: int
    backend: str = "torch"
    stored_jpeg: bool = False
    geometry: str = "as they are"
    missing: Mapping[Distortion, Path] = field(default_factory=dict)
    original: Callable[[np.ndarray], Clean] | None = None
    files: Callable[[np.ndarray], Sequence[Path]] | None = None
    keep: int = 0
    scoring: Scoring = PLAIN
    listed: str = ""
    _kept: dict[int, tuple[Tensor, int, int]] = field(
        default_factory=dict, compare=False, repr=False
    )
    _stamps: dict[Shard, str] = field(default_factory=dict, compare=False, repr=False)
    _sources: dict[Shard, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def images(self) -> int:
        """The number of selected images."""
        return len(self.index)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the clean images, the selection, the geometry and the backend.

        The distortions are not part of it; their versions identify them.
        """
        digest = hashlib.sha256(f"{self.clean_sha256} {self.pixels} {self.geometry}".encode())
        digest.update(self.index.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def pixels(self) -> str:
        """The code that makes the pixels of distorted images."""
        if not any(distortion.severity for distortion in self.distortions):
            return "torch"
        package = "imagecorruptions"
        made = f"{package} {version(package)}" if self.backend == package else self.backend
        return f"{made}, JPEG {STORED_QUALITY}" if self.stored_jpeg else made

    def frames(self, distortion: Distortion) -> int:
        """Return how many frames an image has under a distortion."""
        return distortions.frames(distortion, self.size)

    def read(
        self, distortion: Distortion, shard: Shard, batch_size: int, device: torch.device
    ) -> Iterator[Batch]:
        """Yield the images of a shard under a distortion, about `batch_size` frames at a time.

        Raises:
            DatasetError: files cannot be read; the message lists those of the whole shard.
        """
        step = max(1, batch_size // self.frames(distortion))
        self._forget_all_but(shard)
        original = distortions.acts_on_original(distortion, self.size) and self.original
        clean = original or self._clean
        for start in range(shard.start, shard.stop, step):
            index = self.index[start : min(start + step, shard.stop)]
            with stage("decode"):
                later = self.index[start + step : shard.stop]
                images, labels, sources = read_naming_all(clean, index, later)
            with stage("copy"):
                there = _on(images, device)
            with stage("distort"):
                how = (self.seed, self.size, self.backend, self.stored_jpeg)
                frames = distortions.distort(there, distortion, index, *how)
            accepted = self.scoring.accepted
            yield Batch(
                distortion,
                index,
                labels.numpy(),
                frames,
                sources,
                among=self.scoring.among,
                accepted=None if accepted is None else accepted[index],
            )

    def stamp(self, distortion: Distortion, shard: Shard) -> str:
        """Return the SHA-256 of the sizes and times of a shard's files."""
        if self.files is None:
            return ""
        if shard not in self._stamps:
            self._stamps[shard] = stamp(self.files(self.index[slice(*shard)]))
        return self._stamps[shard]

    def sources(self, distortion: Distortion, shard: Shard) -> str:
        """Return the SHA-256 of the bytes that a shard's images are read from."""
        if shard not in self._sources:
            self._sources[shard] = sources_of(self.clean, self.index[slice(*shard)])
        return self._sources[shard]

    def _forget_all_but(self, shard: Shard) -> None:
        places = set(self.index[slice(*shard)].tolist())
        for place in [place for place in self._kept if place not in places]:
            del self._kept[place]

    def _clean(self, index: np.ndarray) -> Clean:
        """Return clean images; kept ones are not read again."""
        if not self.keep:
            return self.clean(index)
        places = index.tolist()
        missing = [place for place in places if place not in self._kept]
        new = self._read_and_keep(missing) if missing else {}
        chosen = [new[place] if place in new else self._kept[place] for place in places]
        pictures = [image for image, _, _ in chosen]
        alike = len({image.shape for image in pictures}) == 1
        return (
            torch.stack(pictures) if alike else pictures,
            torch.tensor([label for _, label, _ in chosen]),
            np.array([source for _, _, source in chosen], dtype=np.uint64),
        )

    def _read_and_keep(self, places: list[int]) -> dict[int, tuple[Tensor, int, int]]:
        """Read clean images, and keep as many as fit into `keep` bytes."""
        images, labels, sources = self.clean(np.array(places))
        read = zip(images, labels.tolist(), sources.tolist(), strict=True)
        found = dict(zip(places, read, strict=True))
        room = self.keep - sum(image.nbytes for image, _, _ in self._kept.values())
        for place, image in found.items():
            room -= image[0].nbytes
            if room >= 0:
                self._kept[place] = image
        return found


def _on(images: Tensor | list[Tensor], device: torch.device) -> Tensor | list[Tensor]:
    if isinstance(images, Tensor):
        return copied(images, device)
    return [copied(image, device) for image in images]
