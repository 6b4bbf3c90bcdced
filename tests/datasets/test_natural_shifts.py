"""ImageNet's natural shifts and other corruptions, in small trees of their true layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import robustbench_aa as rb
from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets import Request, open_dataset, verify_dataset
from robustbench_aa.datasets.imagenet import C_BAR, COMMON_3D
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.datasets.natural_shifts import IMAGENET_A, IMAGENET_R
from robustbench_aa.datasets.pictures import AS_MADE, decode
from robustbench_aa.errors import DatasetError, SuiteError, UsageError
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.suite import Suite
from robustbench_aa.types import COUNTED_CORRUPTIONS, Shard
from tests.conftest import Linear

LABELS_A = [int(place) for place in IMAGENET_A.split()]
LABELS_R = [int(place) for place in IMAGENET_R.split()]
REAL = {1: [], 2: [970, 795], 3: [230], 4: [3, 4, 5]}
"""Reassessed labels by the number of a picture; all others have the label 0."""


class Pooled(nn.Module):
    """A linear classifier of 1,000 classes on the mean colours of sixteen squares."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.linear = Linear(seed, 4, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(nn.functional.adaptive_avg_pool2d(x, 4))


def make_model(name: str, seed: int = 0) -> Classifier:
    plain = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return Classifier(Pooled(seed), name=name, input_size=224, classes=1000, preprocessing=plain)


def write(path: Path, seed: int, side: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(256, size=(side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every data set of photographs below its usual name."""
    root = tmp_path_factory.mktemp("data")
    for place, label in enumerate((0, 7, 999, 4)):
        name = f"ILSVRC2012_val_0000000{place + 1}.JPEG"
        write(root / "imagenet" / "val" / wnids()[label] / name, place)
    labels = [REAL.get(number, [0]) for number in range(1, 50_001)]
    (root / "imagenet" / "real.json").write_text(json.dumps(labels))
    for name, classes in (("imagenet-a", LABELS_A), ("imagenet-r", LABELS_R)):
        for label in classes:
            write(root / name / name / wnids()[label] / "a.jpg", label)
    inner = "imagenetv2-matched-frequency-format-val"
    for label in (0, 2, 10, 999):
        write(root / "imagenet-v2" / inner / str(label) / "a.jpeg", label)
    for label in (3, 500):
        write(root / "imagenet-sketch" / "sketch" / wnids()[label] / "sketch_1.JPEG", label)
    for name, corruptions in (
        ("imagenet-c", COUNTED_CORRUPTIONS[:1]),
        ("imagenet-c-bar", C_BAR),
        ("imagenet-3dcc", COMMON_3D[:1]),
    ):
        for place, corruption in enumerate(corruptions):
            for severity in range(1, 6):
                folder = root / name / corruption / str(severity) / wnids()[7]
                write(folder / "a.JPEG", 10 * place + severity, 224)
                write(folder / "b.JPEG", 10 * place + severity + 5, 224)
    return root


def logits(model: Classifier, pictures: list[Path]) -> np.ndarray:
    pixels = torch.stack([decode(file, AS_MADE.square) for file in pictures])
    with torch.no_grad():
        return model.module(model.preprocessing.normalised(pixels)).numpy()


def measure(parent: Path, output: Path, *names: Any, **options: Any) -> pd.DataFrame:
    models = [make_model("a"), make_model("b", 1)]
    suite = Suite(models, names, data_dir=str(parent), **options)
    return prepare(suite, output, "cpu").run().leaderboard()


@pytest.mark.parametrize(("name", "classes"), [("imagenet-a", LABELS_A), ("imagenet-r", LABELS_R)])
def test_only_the_logits_of_the_200_classes_are_compared(
    parent: Path, tmp_path: Path, name: str, classes: list[int]
) -> None:
    board = measure(parent, tmp_path, name).set_index("model")
    pictures = [parent / name / name / wnids()[label] / "a.jpg" for label in classes]
    found = logits(make_model("a"), pictures)
    among = np.array(classes)[found[:, classes].argmax(axis=1)]
    column = f"error_{name.replace('-', '_')}_200"
    assert board.loc["a", column] == (among != classes).mean()
    assert (found.argmax(axis=1) != among).any()  # the rule matters
    assert set(np.isin(found.argmax(axis=1), classes)) == {True, False}
    assert "classes_present" not in board
    assert board.loc["a", "rank"] in (1, 2)
    predictions = pd.read_parquet(tmp_path / "predictions" / "a" / name)
    assert predictions[["top1", "top2", "top5"]].isin(classes).all(axis=None)
    shares = np.exp(found[:, classes].astype(float))
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predictions["top1_probability"], shares.max(axis=1), rtol=1e-4)


def test_any_reassessed_label_is_right_and_pictures_without_one_are_left_out(
    parent: Path, tmp_path: Path
) -> None:
    validation = parent / "imagenet" / "val"
    pictures = sorted(validation.glob("*/*"))
    predicted = logits(make_model("a"), pictures).argmax(axis=1)
    numbers = [int(file.stem[-8:]) for file in pictures]
    # the prediction becomes one of the labels of the second picture, and of no other
    sets = {number: [997] for number in numbers} | {1: [], 2: [996]}
    sets[2].append(int(predicted[numbers.index(2)]))
    folder = tmp_path / "val"
    folder.symlink_to(validation)
    (tmp_path / "real.json").write_text(
        json.dumps([sets.get(number, [0]) for number in range(1, 50_001)])
    )
    board = measure(folder, tmp_path / "run", "imagenet-real").set_index("model")
    assert board.loc["a", "error_imagenet_real"] == pytest.approx(2 / 3)
    assert board["images"].tolist() == [3, 3]
    run = rb.Run(tmp_path / "run")
    assert any("left out: 1 images without a label" in note for note in run.tables().notes)
    row = run.table("natural_shifts").set_index("model").loc["a"]
    assert row[["images", "images_left_out"]].tolist() == [3, 1]
    table = pd.read_parquet(tmp_path / "run" / "predictions" / "a" / "imagenet-real")
    assert (table["label"] == table["top1"]).sum() == 1


def test_one_run_of_all_data_sets_has_columns_that_cannot_be_confused(
    parent: Path, tmp_path: Path
) -> None:
    natural = ("a", "r", "v2", "sketch", "real")
    board = measure(
        parent,
        tmp_path,
        "imagenet-1k",
        *(f"imagenet-{name}" for name in natural),
        {"name": "imagenet-c", "corruptions": ["gaussian_noise"], "severities": [1, 2]},
        "imagenet-c-bar",
        {"name": "imagenet-3dcc", "corruptions": ["near_focus"]},
        {"name": "imagenet-p-live", "perturbations": ["brightness"]},
        {"name": "imagenet-shift", "protocols": ["crops"]},
        limit=2,
    )
    metrics = [
        *("clean_error", "error_imagenet_a_200", "error_imagenet_r_200", "error_imagenet_v2"),
        *("error_imagenet_sketch", "error_imagenet_real", "mean_error_subset"),
        *("mean_error_imagenet_c_bar", "mean_error_subset_imagenet_3dcc"),
        *("mean_flip_probability_subset", "consistency_crops"),
    ]
    assert set(metrics) <= set(board)
    assert board[metrics].notna().all(axis=None)
    assert board["complete"].tolist() == [True, True]
    run = rb.Run(tmp_path)
    assert set(metrics) <= set(run.table("intervals")["metric"])
    assert set(metrics) <= set(run.compare("a", "b")["metric"])
    shifts = run.table("natural_shifts")
    assert set(shifts["dataset"]) == {f"imagenet-{name}" for name in natural}
    for (model, dataset), rows in shifts.groupby(["model", "dataset"]):
        column = next(
            name for name in metrics if name.startswith(f"error_{dataset}".replace("-", "_"))
        )
        assert rows["error"].item() == board.set_index("model").loc[model, column]
    corruptions = run.table("corruptions")
    own = corruptions[corruptions["dataset"] == "imagenet-c-bar"]
    assert len(own) == 2 * 50
    expected = own.groupby("model")["error"].mean()
    found = board.set_index("model")["mean_error_imagenet_c_bar"]
    pd.testing.assert_series_equal(found.sort_index(), expected, check_names=False)
    assert set(corruptions.loc[corruptions["severity"] == 0, "dataset"]) == {"imagenet-1k"}


def test_numbered_folders_of_imagenet_v2_are_labels(parent: Path) -> None:
    dataset = open_dataset("imagenet-v2", Request(data_dir=str(parent)))
    assert dataset.classes == 1000
    (batch,) = dataset.read(dataset.distortions[0], Shard(0, 4), 4, torch.device("cpu"))
    assert sorted(batch.label.tolist()) == [0, 2, 10, 999]


def test_two_sets_with_the_same_columns_are_refused(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="imagenet-1k and image-folder both measure clean"):
        measure(parent, tmp_path, "imagenet-1k", "image-folder")


def take_a_class_away(folder: Path) -> None:
    (folder / wnids()[6]).rename(folder.parent / "away")


def add_a_class(folder: Path) -> None:
    write(folder / wnids()[1] / "a.jpg", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (take_a_class_away, r"imagenet-a lacks class n01498041, and differs in 1 classes"),
        (add_a_class, r"imagenet-a has class n01443537, and differs in 1 classes from the 200"),
    ],
)
def test_other_classes_than_the_published_ones_are_refused(
    tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "imagenet-a"
    picture = tmp_path / "picture.png"
    write(picture, 0)
    for label in LABELS_A:
        (folder / wnids()[label]).mkdir(parents=True)
        (folder / wnids()[label] / "a.png").hardlink_to(picture)
    change(folder)
    with pytest.raises(UsageError, match=message):
        open_dataset("imagenet-a", Request(data_dir=str(folder)))


def test_the_subsets_are_two_hundred_classes_each() -> None:
    assert len(set(LABELS_A)) == len(set(LABELS_R)) == 200
    for letter, labels in (("a", LABELS_A), ("r", LABELS_R)):
        listed = files("timm.data._info").joinpath(f"imagenet_{letter}_synsets.txt").read_text()
        assert [wnids()[label] for label in labels] == listed.split()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[1]]", "it has 1 entries, not 50,000"),
        ("{", "cannot be read"),
        (json.dumps([[1000]] * 50_000), "labels that are not 0 to 999"),
        (json.dumps([3] * 50_000), "cannot be read"),
    ],
)
def test_a_damaged_file_of_labels_is_named(tmp_path: Path, content: str, message: str) -> None:
    write(tmp_path / wnids()[0] / "ILSVRC2012_val_00000001.JPEG", 0)
    (tmp_path / "real.json").write_text(content)
    with pytest.raises(DatasetError, match=rf"real\.json .*{message}"):
        open_dataset("imagenet-real", Request(data_dir=str(tmp_path)))


def test_reassessed_labels_need_their_file_and_numbered_pictures(tmp_path: Path) -> None:
    write(tmp_path / "val" / wnids()[0] / "a.JPEG", 0)
    with pytest.raises(UsageError, match=r"no real\.json in .* robustbench-aa download imagenet-r"):
        open_dataset("imagenet-real", Request(data_dir=str(tmp_path / "val")))
    (tmp_path / "real.json").write_text(json.dumps([[0]] * 50_000))
    with pytest.raises(UsageError, match=r"a\.JPEG is not named like ILSVRC2012_val_00000001"):
        open_dataset("imagenet-real", Request(data_dir=str(tmp_path / "val")))


def test_corruptions_of_another_data_set_are_refused(parent: Path) -> None:
    with pytest.raises(UsageError, match="has a corruption gaussian_noise, which imagenet-c-bar"):
        open_dataset("imagenet-c-bar", Request(data_dir=str(parent / "imagenet-c")))


@pytest.mark.parametrize("name", ["imagenet-a", "imagenet-v2", "imagenet-c-bar"])
def test_files_are_verified(parent: Path, name: str) -> None:
    table, problems = verify_dataset(name, parent / name, sample=2)
    assert problems == []
    assert set(table["decoded"]) == {2}
