"""The photographs that benchmarks use: those that come with packages."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import astronaut, chelsea, coffee

from robustbench_aa.datasets.labels import wnids
from robustbench_aa.datasets.pictures import cores


def originals() -> tuple[np.ndarray, ...]:
    """Return three photographs, [H, W, 3] uint8, of at least 300 × 400 pixels.

    Two come with scikit-learn. Without it, two others of scikit-image take their place.
    """
    try:
        from sklearn.datasets import load_sample_image
    except ImportError:
        return astronaut(), coffee(), chelsea()
    return astronaut(), load_sample_image("china.jpg"), load_sample_image("flower.jpg")


def write_crops(folder: Path, count: int) -> None:
    """Write crops of three photographs, at most 500 × 375 pixels, in class folders in turn."""
    whole, classes = originals(), wnids()
    for name in classes[:count]:
        (folder / name).mkdir(parents=True)

    def write(place: int) -> None:
        left = 100 * place // count
        crop = whole[place % len(whole)][:375, left : left + 500]
        file = folder / classes[place % len(classes)] / f"{place:03}.JPEG"
        Image.fromarray(crop).save(file, quality=95)

    with ThreadPoolExecutor(cores()) as threads:
        list(threads.map(write, range(count)))


def link(photographs: list[Path], folder: Path) -> Path:
    """Fill a folder with links to photographs, in their class folders, and return it.

    A photograph that is listed more than once gets a link for each.
    """
    for place, photograph in enumerate(photographs):
        target = folder / photograph.parent.name / f"{place:03}.JPEG"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(photograph)
    return folder
