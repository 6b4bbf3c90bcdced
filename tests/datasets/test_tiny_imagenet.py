"""Tiny-ImageNet in its published layouts, written small."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_aa.datasets import Request, open_dataset, verify_dataset
from robustbench_aa.datasets.dataset import Dataset
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.distortions import corruptions_at, distort, perturbations_at
from robustbench_aa.errors import DatasetError, UsageError
from robustbench_aa.types import CLEAN, Batch, Distortion, Shard

CPU = torch.device("cpu")
CLASSES = wnids()[::5]
NOISE = Distortion("corruption", "gaussian_noise", 2)
BLUR = Distortion("perturbation", "motion_blur")
TILT = Distortion("perturbation", "tilt")


def pixels(seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    small = np.random.default_rng(seed).integers(256, size=(6, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return np.array(picture)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of clean images: 200 validation images, in another order than their classes."""
    folder = tmp_path_factory.mktemp("published") / "tiny-imagenet-200"
    images = folder / "val" / "images"
    images.mkdir(parents=True)
    lines = []
    for number, wnid in enumerate(reversed(CLASSES)):
        Image.fromarray(pixels(number)).save(images / f"val_{number}.JPEG", "PNG")
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t55\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(CLASSES[50:] + CLASSES[:50]))
    return folder


@pytest.fixture(scope="module")
def corrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One corruption of Tiny-ImageNet-C at all severities, an image of each class."""
    root = tmp_path_factory.mktemp("released") / "Tiny-ImageNet-C"
    for severity in range(1, 6):
        Image.fromarray(pixels(severity)).save(root.parent / f"{severity}.JPEG")
        for wnid in CLASSES:
            folder = root / "gaussian_noise" / str(severity) / wnid
            folder.mkdir(parents=True)
            (folder / "test_1.JPEG").hardlink_to(root.parent / f"{severity}.JPEG")
    return root


def read(dataset: Dataset, distortion: Distortion, count: int = 4) -> Batch:
    (batch,) = dataset.read(distortion, Shard(0, count), 100 * count, CPU)
    return batch


@pytest.mark.parametrize("inner", ["", "val", ".."])
def test_the_published_validation_set_has_its_labels(published: Path, inner: str) -> None:
    dataset = open_dataset("tiny-imagenet-c-live", Request(data_dir=str(published / inner)))
    assert (dataset.images, dataset.classes, dataset.size) == (200, 200, 64)
    assert dataset.labels.present == 200
    batch = read(dataset, CLEAN, 4)
    # sorted names: val_0, val_1, val_10, val_100
    assert batch.label.tolist() == [199, 198, 189, 99]
    for image, number in zip(batch.frames[:, 0], (0, 1, 10, 100), strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0), pixels(number))


def test_corruptions_are_those_of_64_px_and_stored_as_jpeg(published: Path) -> None:
    dataset = open_dataset("tiny-imagenet-c-live", Request(data_dir=str(published)))
    assert dataset.distortions == (CLEAN, *corruptions_at(64))
    clean = read(dataset, CLEAN).frames[:, 0]
    found = read(dataset, NOISE)
    expected = distort(clean, NOISE, found.index, 0, 64, stored_jpeg=True)
    assert torch.equal(found.frames, expected)
    assert not torch.equal(found.frames, distort(clean, NOISE, found.index, 0, 64))


def test_shifts_move_images_of_64_px(published: Path) -> None:
    dataset = open_dataset("tiny-imagenet-shift", Request(data_dir=str(published)))
    circular = next(cell for cell in dataset.distortions if cell.name == "circular")
    frames = read(dataset, circular, 2).frames
    assert frames.shape == (2, 81, 3, 64, 64)
    assert torch.equal(frames[:, 0], frames[:, 40].roll((-4, -4), (-2, -1)))


def test_sequences_come_from_photographs(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.fromarray(pixels(0, 150, 220)).save(large)
    for wnid in CLASSES:
        (tmp_path / "val" / wnid).mkdir(parents=True)
        (tmp_path / "val" / wnid / "a.png").hardlink_to(large)
    dataset = open_dataset("tiny-imagenet-p-live", Request(data_dir=str(tmp_path / "val")))
    assert dataset.distortions == tuple(perturbations_at(64))
    photograph = Image.open(large)
    shrunk = np.array(photograph.resize((93, 64), Image.Resampling.BILINEAR))
    for distortion, source in ((BLUR, np.array(photograph)), (TILT, shrunk)):
        image = torch.from_numpy(source).permute(2, 0, 1)
        expected = distort([image], distortion, [0], 0, 64)
        assert torch.equal(read(dataset, distortion, 1).frames, expected), distortion


def test_other_than_200_classes_are_refused(tmp_path: Path) -> None:
    (tmp_path / CLASSES[0]).mkdir()
    with pytest.raises(UsageError, match="has 1 classes, not 200; check --data-dir"):
        open_dataset("tiny-imagenet-shift", Request(data_dir=str(tmp_path)))


def test_a_missing_image_of_the_list_is_named(published: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(published, tmp_path / "copy")
    (copy / "val" / "images" / "val_7.JPEG").unlink()
    with pytest.raises(DatasetError, match=r"images lacks val_7\.JPEG; fetch the archive again"):
        open_dataset("tiny-imagenet-shift", Request(data_dir=str(copy)))


def test_the_released_corruptions(corrupted: Path) -> None:
    dataset = open_dataset("tiny-imagenet-c", Request(data_dir=str(corrupted.parent)))
    assert (dataset.images, dataset.classes, dataset.size) == (200, 200, 64)
    batch = read(dataset, NOISE, 200)
    assert batch.label.tolist() == list(range(200))
    stored = np.array(Image.open(corrupted.parent / "2.JPEG"))
    np.testing.assert_array_equal(batch.frames[7, 0].permute(1, 2, 0), stored)
    assert {cell.name for cell in dataset.missing} == {
        cell.name for cell in corruptions_at(64) if cell.role == "counted"
    } - {"gaussian_noise"}
    table, problems = verify_dataset("tiny-imagenet-c", corrupted, sample=2)
    assert set(table.loc[table["images"] > 0, "classes"]) == {200}
    assert all(problem.endswith("is not there") for problem in problems)


def test_the_frost_of_the_first_release_is_refused(corrupted: Path) -> None:
    frost = corrupted / "frost" / "1"
    for wnid in wnids():
        (frost / wnid).mkdir(parents=True)
    try:
        with pytest.raises(
            UsageError, match=r"first release .* robustbench-aa download tiny-image"
        ):
            open_dataset("tiny-imagenet-c", Request(data_dir=str(corrupted)))
    finally:
        shutil.rmtree(corrupted / "frost")
