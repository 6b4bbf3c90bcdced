"""Peers of the harness: other ways to do the same measurement, as their users write them.

Each peer predicts all pictures of some cells once and returns the time. Pictures are decoded and
corrupted by the workers of a DataLoader, one for each core, whose start is paid for once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets.pictures import cores
from robustbench_aa.distortions import imagecorruptions_backend
from robustbench_aa.types import Distortion

SEED = 0
Transform = Callable[[Image.Image], Tensor]


@dataclass(frozen=True)
class Setting:
    """The settings that all peers share.

    Attributes:
        classifier: Classifier; its module is on the device.
        device: Torch device.
        batch_size: Number of pictures in a forward pass.
        precision: Function that returns the context of a forward pass.
    """

    classifier: Classifier
    device: str
    batch_size: int
    precision: Callable[[], AbstractContextManager[Any]]

    @property
    def normalise(self) -> nn.Module:
        """The normalisation of the classifier."""
        preprocessing = self.classifier.preprocessing
        mean, std = list(preprocessing.mean), list(preprocessing.std)
        normalise: nn.Module = transforms.Normalize(mean, std)
        return normalise

    @torch.inference_mode()
    def seconds(self, make: Callable[[], Iterable[tuple[Tensor, Any]]]) -> float:
        """Return the time to make a loader and to predict all of its pictures."""
        start = time.perf_counter()
        with self.precision():
            for pictures, _ in make():
                self.classifier.module(pictures.to(self.device)).argmax(1).cpu()
        return time.perf_counter() - start

    def loader(self, data: Dataset[Any]) -> DataLoader[Any]:
        """Return a loader as most scripts make it."""
        return DataLoader(data, self.batch_size, num_workers=cores())


CROP = [transforms.CenterCrop(224)]
RESIZE_CROP = [transforms.Resize(256), *CROP]


def folders(setting: Setting, roots: Sequence[Path], geometry: Sequence[Any]) -> float:
    """Evaluate as the official scripts of ImageNet-C and ImageNet: ImageFolder and DataLoader."""
    transform = transforms.Compose([*geometry, transforms.ToTensor(), setting.normalise])
    return setting.seconds(
        lambda: setting.loader(ConcatDataset([ImageFolder(str(r), transform) for r in roots]))
    )


def timm_validate(setting: Setting, root: Path, crop_pct: float) -> float:
    """Evaluate a folder as timm's validate.py does, with its data set and loader."""
    from timm.data.dataset_factory import create_dataset
    from timm.data.loader import create_loader

    preprocessing = setting.classifier.preprocessing

    def make() -> Any:
        return create_loader(
            create_dataset("", root=str(root)),
            input_size=(3, 224, 224),
            batch_size=setting.batch_size,
            use_prefetcher=setting.device != "cpu",
            interpolation="bilinear",
            mean=preprocessing.mean,
            std=preprocessing.std,
            num_workers=cores(),
            crop_pct=crop_pct,
            device=torch.device(setting.device),
        )

    return setting.seconds(make)


class Corrupted(Dataset[tuple[Tensor, int]]):
    """Clean photographs under several corruptions, one picture at a time."""

    def __init__(self, root: Path, corruptions: Sequence[Transform]) -> None:
        self.pictures = ImageFolder(str(root), transforms.Compose(RESIZE_CROP))
        self.corruptions = corruptions

    def __len__(self) -> int:
        """Return the number of pictures times the number of corruptions."""
        return len(self.pictures) * len(self.corruptions)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        corrupt = self.corruptions[place // len(self.pictures)]
        picture, label = self.pictures[place % len(self.pictures)]
        return corrupt(picture), label


def imagecorruptions_route(setting: Setting, root: Path, cells: Sequence[Distortion]) -> float:
    """Evaluate corruptions that the imagecorruptions package makes on the fly."""
    after = transforms.Compose([transforms.ToTensor(), setting.normalise])

    def corrupt(picture: Image.Image, name: str, severity: int) -> Tensor:
        changed = imagecorruptions_backend.corrupt_by_seed(
            np.asarray(picture), name, severity, SEED
        )
        tensor: Tensor = after(changed)
        return tensor

    chosen = [partial(corrupt, name=cell.name, severity=cell.severity or 1) for cell in cells]
    return setting.seconds(lambda: setting.loader(Corrupted(root, chosen)))


TORCH_UNCERTAINTY = {"jpeg_compression": "JPEGCompression", "elastic_transform": "Elastic"}


def torch_uncertainty_route(setting: Setting, root: Path, cells: Sequence[Distortion]) -> float:
    """Evaluate corruptions that torch-uncertainty makes on the fly."""
    from torch_uncertainty.transforms import corruption

    before, after = transforms.ToTensor(), setting.normalise

    def corrupt(picture: Image.Image, by: Callable[[Tensor], Tensor]) -> Tensor:
        tensor: Tensor = after(by(before(picture)).float())
        return tensor

    chosen = []
    for cell in cells:
        name = TORCH_UNCERTAINTY.get(cell.name, cell.name.title().replace("_", ""))
        chosen.append(partial(corrupt, by=getattr(corruption, name)(cell.severity)))
    return setting.seconds(lambda: setting.loader(Corrupted(root, chosen)))


@torch.inference_mode()
def videos(setting: Setting, files: Sequence[Path]) -> float:
    """Evaluate as the official script of ImageNet-P: OpenCV, one video after the other."""
    import cv2

    transform = transforms.Compose([transforms.ToTensor(), setting.normalise])
    start = time.perf_counter()
    for file in files:
        capture = cv2.VideoCapture(str(file))
        frames = []
        while True:
            there, frame = capture.read()
            if not there:
                break
            frames.append(transform(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))))
        capture.release()
        with setting.precision():
            setting.classifier.module(torch.stack(frames).to(setting.device)).argmax(1).cpu()
    return time.perf_counter() - start
