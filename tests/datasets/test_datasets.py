"""Data sets by name: as objects, and registered by a user."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import robustbench_aa as rb
from robustbench_aa.cli.main import commands
from robustbench_aa.datasets import DATASETS, Request, open_dataset, verify_dataset
from robustbench_aa.datasets.digits import load_split
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.evaluation.identity import dataset_identity
from robustbench_aa.evaluation.sources import compare_sources
from tests.conftest import Linear, make_classifier

IMAGES, LABELS = (part[:10] for part in load_split("test"))


def test_an_object_of_every_data_set_has_its_name() -> None:
    for name in DATASETS:
        assert rb.load_dataset(name).name == name


def test_every_data_set_has_a_row_in_the_documents() -> None:
    text = Path(__file__).parents[2].joinpath("docs", "datasets.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    listed = [row[0].strip("| `") for row in rows]
    assert sorted(listed) == sorted(name for name in DATASETS if DATASETS[name].form != "files")
    for row in rows:
        entry = DATASETS[row[0].strip("| `")]
        assert len(row) == 6
        assert ("download" in row[5]) == bool(entry.archives), entry.name
        if entry.column:
            assert row[4] == f"`mean_error_{entry.column}`"


def test_an_object_is_the_named_data_set(tmp_path: Path) -> None:
    opened = rb.load_dataset("digits-c").open(Request(seed=2, limit=3))
    assert dataset_identity(opened) == dataset_identity(
        open_dataset("digits-c", Request(seed=2, limit=3))
    )
    np.save(tmp_path / "fog.npy", np.zeros((10, 32, 32, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(10))
    stored = rb.load_dataset("cifar10-c", tmp_path).open(Request())
    assert (stored.images, stored.name) == (2, "cifar10-c")


def test_wrong_objects_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown data set 'imagenet-d'; did you mean imagenet"):
        rb.load_dataset("imagenet-d")
    with pytest.raises(UsageError, match=r"no folder .*gone; check data_dir"):
        rb.load_dataset("imagenet-c", tmp_path / "gone")
    with pytest.raises(UsageError, match="data set digits has no files; leave out data_dir"):
        rb.load_dataset("digits", tmp_path)
    for wrong in (tmp_path, object()):
        with pytest.raises(UsageError, match=r"is no data set; give a name such as 'digits-c'"):
            open_dataset(wrong)  # type: ignore[arg-type]


def test_a_registered_data_set_is_used_like_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @rb.register_dataset("letters", variable="LETTERS_DIR")
    def letters(folder: Path) -> rb.ImageArrays:
        """Letters.

        Of an alphabet.
        """
        return rb.ImageArrays(np.load(folder / "images.npy"), LABELS, "x", classes=10)

    with pytest.raises(
        UsageError, match=r"letters needs its files; .* by --data-dir or LETTERS_DIR"
    ):
        open_dataset("letters")
    np.save(tmp_path / "images.npy", IMAGES.permute(0, 2, 3, 1).numpy())
    listed = CliRunner().invoke(commands, ["datasets"], catch_exceptions=False).output
    (line,) = [line.split() for line in listed.splitlines() if line.startswith("letters")]
    assert line == ["letters", *["files", "in", "--data-dir", "or", "LETTERS_DIR", "Letters"]]
    run = rb.benchmark([make_classifier("a")], ["letters"], tmp_path / "a", data_dir=tmp_path)
    assert run.leaderboard()["images"].tolist() == [10]
    assert (tmp_path / "a" / "predictions" / "a" / "letters").exists()
    monkeypatch.setenv("LETTERS_DIR", str(tmp_path))
    again = rb.benchmark([make_classifier("a")], [rb.load_dataset("letters")], tmp_path / "a")
    assert again.leaderboard().equals(run.leaderboard())
    assert open_dataset("letters", Request(limit=4)).images == 4


def test_the_files_of_a_registered_data_set_are_compared_with_those_of_a_run(
    tmp_path: Path,
) -> None:
    @rb.register_dataset("letters", variable="LETTERS_DIR")
    def letters(folder: Path) -> rb.ImageArrays:
        return rb.ImageArrays(np.load(folder / "images.npy"), LABELS, "letters", classes=10)

    pixels = IMAGES.permute(0, 2, 3, 1).numpy().copy()
    np.save(tmp_path / "images.npy", pixels)
    rb.benchmark([make_classifier("a")], ["letters"], tmp_path / "run", data_dir=tmp_path)
    with pytest.raises(UsageError, match="letters has no check of its files; --deep RUN compares"):
        verify_dataset("letters", tmp_path)
    assert compare_sources(tmp_path / "run", "letters", str(tmp_path))[1] == []
    pixels[2, 5, 5] += 1
    np.save(tmp_path / "images.npy", pixels)
    (problem,) = compare_sources(tmp_path / "run", "letters", str(tmp_path))[1]
    assert "are not those that" in problem


def test_it_may_wrap_another_data_set_and_be_registered_again() -> None:
    for name in ("digits", "digits-c"):
        rb.register_dataset("own")(lambda name=name: rb.load_dataset(name))
    opened = open_dataset("own", Request(limit=2))
    assert opened.name == "own"
    assert opened.distortions == open_dataset("digits-c").distortions


def test_the_packages_own_cannot_be_replaced() -> None:
    with pytest.raises(UsageError, match="the package has a data set digits; give yours another"):
        rb.register_dataset("digits")


class Own:
    """A data set that implements the whole interface."""

    name = "own"

    def __init__(self, **changes: Any) -> None:
        self.data = rb.ImageArrays(IMAGES, LABELS, "own", classes=10).open(Request())
        self.changes = changes

    def open(self, request: Request) -> Own:
        return self

    def __getattr__(self, name: str) -> Any:
        return self.changes.get(name, getattr(self.data, name))


def test_any_object_with_the_interface_can_be_measured(tmp_path: Path) -> None:
    run = rb.benchmark([make_classifier("a")], [Own()], tmp_path)
    assert run.leaderboard()["images"].tolist() == [10]


def test_labels_beyond_the_classes_cannot_be_missed(tmp_path: Path) -> None:
    """On a GPU, they would end the process."""
    model = dataclasses.replace(make_classifier("a", classes=8), module=Linear(0, classes=8))
    with pytest.warns(RuntimeWarning, match="image has the label 9, and 8 classes end at 7"):
        run = rb.benchmark([model], [Own(classes=8)], tmp_path)
    assert len(run.failures) == 1
    assert torch.as_tensor(LABELS).max() >= 8
