from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import robustbench_aa as rb
from robustbench_aa.datasets import Request, open_dataset, verify_dataset
from robustbench_aa.datasets.cifar import C_BAR, NAMES
from robustbench_aa.distortions import corruptions_at
from robustbench_aa.errors import DatasetError, RobustbenchError, UsageError
from robustbench_aa.types import CLEAN, Batch, Distortion, Shard
from tests.conftest import make_classifier

CPU = torch.device("cpu")
COUNTED = [cell for cell in corruptions_at(32) if cell.group != "extra"]
LABELS = np.array([3, 8, 0], dtype=np.uint8)


def pixels(seed: int, count: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """CIFAR-10-C of three images."""
    for seed, name in enumerate(dict.fromkeys(cell.name for cell in COUNTED)):
        np.save(tmp_path / f"{name}.npy", pixels(seed, 15))
    np.save(tmp_path / "labels.npy", np.tile(LABELS, 5))
    return tmp_path


def read(name: str, cell: Distortion, folder: Path, **request: Any) -> list[Batch]:
    dataset = open_dataset(name, Request(data_dir=str(folder), **request))
    return list(dataset.read(cell, Shard(0, dataset.images), 2, CPU))


def test_severities_follow_one_another_in_the_array(released: Path) -> None:
    dataset = open_dataset("cifar10-c", Request(data_dir=str(released)))
    assert list(dataset.distortions) == COUNTED
    assert (dataset.images, dataset.classes, dataset.size) == (3, 10, 32)
    assert not dataset.missing
    for severity in (1, 4):
        batches = read("cifar10-c", Distortion("corruption", "shot_noise", severity), released)
        frames = torch.cat([batch.frames for batch in batches])[:, 0].permute(0, 2, 3, 1)
        first = 3 * (severity - 1)
        np.testing.assert_array_equal(frames, pixels(1, 15)[first : first + 3])
        assert np.concatenate([b.label for b in batches]).tolist() == LABELS.tolist()


def test_an_absent_array_makes_its_cells_missing(released: Path) -> None:
    (released / "fog.npy").unlink()
    dataset = open_dataset("cifar10-c", Request(data_dir=str(released)))
    assert {str(cell) for cell in dataset.missing} == {f"fog/{s}" for s in range(1, 6)}
    np.save(released / "spatter.npy", pixels(0, 15))
    assert len(open_dataset("cifar10-c", Request(data_dir=str(released))).distortions) == 80


def test_the_folder_of_the_archive_is_found(released: Path, tmp_path: Path) -> None:
    (tmp_path / "to" / "CIFAR-10-C").parent.mkdir()
    (tmp_path / "to" / "CIFAR-10-C").symlink_to(released)
    dataset = open_dataset("cifar10-c", Request(data_dir=str(tmp_path / "to")))
    assert dataset.sha256 == open_dataset("cifar10-c", Request(data_dir=str(released))).sha256


def test_other_corruptions_have_columns_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "CIFAR-10-C-Bar"
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(LABELS, 5))
    for seed, name in enumerate(C_BAR):
        np.save(folder / f"{name}.npy", pixels(seed, 15))
    run = rb.benchmark(
        [make_classifier("a")], ["cifar10-c-bar"], tmp_path / "run", data_dir=tmp_path
    )
    errors = run.table("corruptions")
    assert len(errors) == 50
    found = run.leaderboard()["mean_error_cifar10_c_bar"].item()
    assert found == pytest.approx(errors["error"].mean())
    table, problems = verify_dataset("cifar10-c-bar", tmp_path)
    assert (table["corruption"].tolist(), problems) == ([*C_BAR], [])
    (folder / "lines.npy").unlink()
    dataset = open_dataset("cifar10-c-bar", Request(data_dir=str(tmp_path)))
    assert {cell.name for cell in dataset.missing} == {"lines"}


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("fog", pixels(0, 14), r"fog\.npy is uint8 \(14, 32, 32, 3\), not uint8 \(15, 32, 32, 3\)"),
        ("fog", pixels(0, 15).astype(float), r"fog\.npy is float64 .* not uint8"),
        ("fog", np.array([{}]), r"fog\.npy cannot be read \(.*Python objects"),
        ("fog", None, r"fog\.npy cannot be read"),
        ("labels", np.zeros(14, int), r"labels\.npy is int64 \(14,\), not whole numbers for five"),
        ("labels", np.full(15, 10), r"labels\.npy has labels that are not 0 to 9"),
        ("labels", np.zeros(15), r"labels\.npy is float64"),
    ],
)
def test_an_array_of_another_shape_is_refused_by_name(
    released: Path, file: str, array: np.ndarray | None, message: str
) -> None:
    path = released / f"{file}.npy"
    if array is None:
        path.write_bytes(path.read_bytes()[:-100])
    else:
        np.save(path, array)
    with pytest.raises(DatasetError, match=message):
        open_dataset("cifar10-c", Request(data_dir=str(released)))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.tile(LABELS, 5))
    with pytest.raises(UsageError, match=r"no <corruption>\.npy in .*; check --data-dir"):
        open_dataset("cifar10-c", Request(data_dir=str(tmp_path)))


def test_cifar100_has_a_hundred_classes(released: Path) -> None:
    np.save(released / "labels.npy", np.tile([99, 0, 50], 5))
    assert open_dataset("cifar100-c", Request(data_dir=str(released))).classes == 100


def batch_file(folder: Path, content: object) -> None:
    (folder / "cifar-10-batches-py").mkdir()
    (folder / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(content, protocol=2))


def test_the_published_test_batch_is_read(tmp_path: Path) -> None:
    images = pixels(0, 3)
    planes = images.transpose(0, 3, 1, 2).reshape(3, -1)
    batch_file(tmp_path, {b"data": planes, b"labels": [3, 8, 0]})
    (first, second) = read("cifar10-c-live", CLEAN, tmp_path)
    np.testing.assert_array_equal(first.frames[:, 0].permute(0, 2, 3, 1), images[:2])
    assert [*first.label, *second.label] == [3, 8, 0]
    (noisy, _) = read("cifar10-c-live", Distortion("corruption", "gaussian_noise", 5), tmp_path)
    assert not torch.equal(noisy.frames, first.frames)


class _Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("malice",)


@pytest.mark.parametrize("content", [_Malice(), {b"data": np.zeros((2, 7), np.uint8)}, [1]])
def test_a_pickle_of_anything_else_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object
) -> None:
    monkeypatch.chdir(tmp_path)
    batch_file(tmp_path, content)
    with pytest.raises(DatasetError, match="test_batch is not a batch of CIFAR-10"):
        open_dataset("cifar10-c-live", Request(data_dir=str(tmp_path)))
    assert not Path("malice").exists()


def test_class_folders_are_labelled_by_their_names(tmp_path: Path) -> None:
    for name in ("truck", "bird"):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels(0, 1)[0]).save(tmp_path / name / "0001.png")
    (batch,) = read("cifar10-c-live", CLEAN, tmp_path)
    assert [NAMES[label] for label in batch.label] == ["bird", "truck"]
    assert open_dataset("cifar10-c-live", Request(data_dir=str(tmp_path))).classes == 10


def test_class_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    for name in ("pear", "apple"):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels(0, 1)[0]).save(tmp_path / name / "0001.png")
    with pytest.raises(RobustbenchError, match="2 class folders that are not CIFAR-10's"):
        open_dataset("cifar10-c-live", Request(data_dir=str(tmp_path)))
    (tmp_path / "cat").mkdir()
    with pytest.raises(UsageError, match="apple is not one of the 10 known classes"):
        open_dataset("cifar10-c-live", Request(data_dir=str(tmp_path)))


def test_sequences_and_shifts_of_the_test_images(tmp_path: Path) -> None:
    images = pixels(0, 3)
    batch_file(tmp_path, {b"data": images.transpose(0, 3, 1, 2).reshape(3, -1), b"labels": [1] * 3})
    (batch, *_) = read("cifar10-p-live", Distortion("perturbation", "translate"), tmp_path)
    assert batch.frames.shape[1:] == (16, 3, 32, 32)
    np.testing.assert_array_equal(batch.frames[0, 7].permute(1, 2, 0), images[0])
    moved = batch.frames[0, 9].permute(1, 2, 0).numpy().astype(int)  # by two pixels to the right
    assert np.abs(moved[:, 2:] - images[0][:, :-2]).max() <= 1
    assert (moved[:, :2] == 0).all()
    (batch, *_) = read("cifar10-shift", Distortion("shift", "circular"), tmp_path)
    assert batch.frames.shape[1:] == (81, 3, 32, 32)
