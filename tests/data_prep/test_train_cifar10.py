from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import robustbench_aa as rb
from data_prep import train_cifar10
from data_prep.train_cifar10 import augmented, read_split
from robustbench_aa.datasets.cifar import NAMES
from robustbench_aa.errors import CheckpointError, UsageError
from robustbench_aa.models import cifar10, load
from robustbench_aa.models.digits import WEIGHTS_FOLDER


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders whose classes differ in brightness: 30 pictures to train on, 10 to test."""
    root = tmp_path_factory.mktemp("cifar10")
    generator = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 10)):
        for label, name in enumerate(NAMES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = 25 * label + generator.integers(0, 25, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


def train(pictures: Path, folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        train_cifar10.main,
        [
            *("--data-dir", str(pictures), "--epochs", "2", "--device", "cpu"),
            *("--to", str(folder / "weights"), "--log-dir", str(folder / "log"), *arguments),
        ],
        catch_exceptions=False,
    )


def test_a_network_is_trained_and_evaluated(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = train(pictures, tmp_path, "-w", "lpf3", "-s", "0")
    assert result.exit_code == 0, result.output
    name = "cifar10-resnet20-lpf3-seed0"
    log = pd.read_csv(tmp_path / "log" / f"{name}.csv")
    assert log["epoch"].tolist() == [1, 2]
    assert (tmp_path / "log" / f"{name}.png").stat().st_size > 0
    weights = tmp_path / "weights" / f"{name}.safetensors"
    monkeypatch.chdir(weights.parent)
    run = rb.benchmark(
        [f"cifar10:resnet20@{weights.name}"],
        ["cifar10-shift"],
        tmp_path / "run",
        limit=20,
        data_dir=str(pictures / "test"),
        device="cpu",
    )
    assert run.leaderboard()["complete"].all()
    assert not run.failures
    # a finished network is left alone
    before = weights.stat().st_mtime_ns
    assert train(pictures, tmp_path, "-w", "lpf3", "-s", "0").output == ""
    assert weights.stat().st_mtime_ns == before


def test_an_interrupted_training_continues_to_the_same_weights(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("-w", "aps", "-s", "1", "--limit", "150")
    train(pictures, tmp_path / "whole", *arguments)
    run_epoch = train_cifar10.Training.run_epoch

    def killed_in_the_second(
        self: train_cifar10.Training, images: torch.Tensor, labels: torch.Tensor
    ) -> None:
        run_epoch(self, images, labels)
        if self.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_cifar10.Training, "run_epoch", killed_in_the_second)
    assert train(pictures, tmp_path / "parts", *arguments).exit_code == 1
    monkeypatch.undo()
    assert train(pictures, tmp_path / "parts", *arguments).exit_code == 0
    [whole] = (tmp_path / "whole" / "weights").iterdir()
    [parts] = (tmp_path / "parts" / "weights").iterdir()
    assert whole.read_bytes() == parts.read_bytes()


def test_crops_and_mirrors_are_parts_of_the_padded_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (60, 3, 32, 32), dtype=torch.uint8, generator=generator)
    found = augmented(images, generator)
    mirrored = 0
    for image, part in zip(images, found, strict=True):
        padded = torch.nn.functional.pad(image, (4, 4, 4, 4))
        places = [
            flipped
            for candidate, flipped in ((part, False), (part.flip(-1), True))
            for y in range(9)
            for x in range(9)
            if torch.equal(padded[:, y : y + 32, x : x + 32], candidate)
        ]
        assert len(places) == 1
        mirrored += places[0]
    assert 15 < mirrored < 45


def test_folders_without_cifar10_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither cifar-10-batches-py nor train"):
        read_split(tmp_path, "train")


def test_where_no_weights_are_shipped_the_way_to_them_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(UsageError, match=r"python -m data_prep\.train_cifar10"):
        load("cifar10:resnet20@plain")


def test_weights_of_another_network_are_refused() -> None:
    other = WEIGHTS_FOLDER / "resnet-lpf3-seed0.safetensors"
    with pytest.raises(CheckpointError, match=r"is not a file of data_prep\.train_cifar10"):
        load(f"cifar10:resnet20@{other}")


def test_the_shipped_networks_declare_the_compression_of_their_training_pictures() -> None:
    for name in ("plain", "lpf3-seed1", "flc-seed2"):
        assert load(f"cifar10:resnet20@{name}").trained_on == ("jpeg_compression",)
    # the training data of any other file is unknown
    assert load(f"cifar10:resnet20@{cifar10.weights_path('plain', 0)}").trained_on == ()
