"""CIFAR-10-P in its published layout, written small."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import robustbench_aa as rb
from robustbench_aa.datasets import Request, open_dataset, verify_dataset
from robustbench_aa.distortions import frames, perturbations_at
from robustbench_aa.errors import DatasetError, UsageError
from robustbench_aa.types import Distortion, Shard
from tests.conftest import make_classifier

LABELS = [3, 8, 0]
COUNTED = [cell for cell in perturbations_at(32) if not cell.held_out]
TRANSLATE = Distortion("perturbation", "translate")


def pixels(seed: int, count: int, images: int = 3) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(256, size=(images, count, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """The counted perturbations of three images, as the archive unpacks."""
    folder = tmp_path / "CIFAR-10-P"
    folder.mkdir()
    for seed, cell in enumerate(COUNTED):
        np.save(folder / f"{cell.name}.npy", pixels(seed, frames(cell, 32)))
    np.save(tmp_path / "labels.npy", np.array(LABELS))
    return tmp_path


def test_sequences_are_those_of_the_arrays(released: Path) -> None:
    dataset = open_dataset("cifar10-p", Request(data_dir=str(released)))
    assert [cell.name for cell in dataset.distortions] == [cell.name for cell in COUNTED]
    assert (dataset.images, dataset.classes, dataset.frames(TRANSLATE)) == (3, 10, 16)
    batches = list(dataset.read(TRANSLATE, Shard(0, 3), 32, torch.device("cpu")))
    found = torch.cat([batch.frames for batch in batches]).permute(0, 1, 3, 4, 2)
    np.testing.assert_array_equal(found, pixels(COUNTED.index(TRANSLATE), 16))
    assert np.concatenate([batch.label for batch in batches]).tolist() == LABELS
    assert verify_dataset("cifar10-p", released)[1] == []


def test_labels_come_from_cifar_10(released: Path) -> None:
    whole = open_dataset("cifar10-p", Request(data_dir=str(released))).sha256
    (released / "labels.npy").unlink()
    with pytest.raises(UsageError, match=r"has no labels: put cifar-10-batches-py/test_batch of"):
        open_dataset("cifar10-p", Request(data_dir=str(released)))
    (released / "cifar-10-batches-py").mkdir()
    content = {b"data": np.zeros((3, 3072), np.uint8), b"labels": LABELS}
    (released / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(content))
    assert open_dataset("cifar10-p", Request(data_dir=str(released))).sha256 == whole


def test_a_run_has_the_mean_flip_probability(released: Path, tmp_path: Path) -> None:
    run = rb.benchmark([make_classifier("a")], ["cifar10-p"], tmp_path / "run", data_dir=released)
    flips = run.table("perturbations")["flip_probability"]
    assert len(flips) == 10
    assert run.leaderboard()["mean_flip_probability"].item() == pytest.approx(flips.mean())


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("CIFAR-10-P/tilt", pixels(0, 30), r"tilt\.npy is uint8 \(3, 30, 32, 32, 3\), not uint8"),
        ("CIFAR-10-P/tilt", pixels(0, 31, 2), r"tilt\.npy is uint8 \(2, 31, 32, 32, 3\), not"),
        ("labels", np.array([3, 8, 10]), r"labels\.npy is int64 \(3,\), not a class from 0 to 9"),
        ("labels", np.array([0.5]), r"labels\.npy is float64"),
    ],
)
def test_an_array_of_another_shape_is_refused_by_name(
    released: Path, file: str, array: np.ndarray, message: str
) -> None:
    np.save(released / f"{file}.npy", array)
    with pytest.raises(DatasetError, match=message):
        open_dataset("cifar10-p", Request(data_dir=str(released)))


def test_a_folder_without_arrays_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.array(LABELS))
    with pytest.raises(UsageError, match=r"no <perturbation>\.npy in"):
        open_dataset("cifar10-p", Request(data_dir=str(tmp_path)))
