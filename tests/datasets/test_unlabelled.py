"""Photographs without labels: everything that needs labels is absent, the rest is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import robustbench_aa as rb
from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.errors import RunError, UsageError

LABEL_FREE = ("consistency", "fooled", "probability_change", "mean_flip_probability")
PROTOCOLS = ("crops", "diagonal", "neighbours")


class Brightest(nn.Module):
    """Compare the light in some squares of an image, which a shift can change."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        light = nn.functional.adaptive_avg_pool2d(x.mean(dim=1, keepdim=True), self.side)
        return 5 * light.flatten(1)[:, -4:]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same three photographs in class folders, and loose with a folder among them."""
    root = tmp_path_factory.mktemp("photographs")
    places = ["0/a.png", "1/b.png", "3/c.png"], ["a.png", "album/b.png", "album/deep/c.png"]
    for place in range(3):
        noise = np.random.default_rng(place).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((270, 256 + place))
        for name, files in zip(("classes", "loose"), places, strict=True):
            (root / name / files[place]).parent.mkdir(parents=True, exist_ok=True)
            picture.save(root / name / files[place])
    return root / "classes", root / "loose"


def _run(folder: Path, output_dir: Path, **values: Any) -> rb.Run:
    how = rb.Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    models = [
        rb.Classifier(module, name=name, input_size=224, classes=4, preprocessing=how)
        for name, module in (("two", Brightest(2)), ("four", Brightest(4)))
    ]
    suite = rb.Suite(
        models,
        ["imagenet-p-live", "imagenet-shift"],
        data_dir=str(folder),
        perturbations=["translate", "brightness"],
        protocols=PROTOCOLS,
        **values,
    )
    return rb.benchmark(suite, output_dir=output_dir, progress=False)


@pytest.fixture(scope="module")
def runs(
    folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[rb.Run, rb.Run]:
    """A run with labels and a run without."""
    root, (classes, loose) = tmp_path_factory.mktemp("runs"), folders
    labelled = _run(classes, root / "labelled", classes=4)
    return labelled, _run(loose, root / "unlabelled", unlabelled=True)


def test_what_needs_no_labels_is_the_same_as_with_labels(runs: tuple[rb.Run, rb.Run]) -> None:
    for table in ("consistency", "perturbations", "intervals"):
        labelled, unlabelled = (run.table(table) for run in runs)
        if table == "intervals":
            free = labelled["metric"].str.startswith(LABEL_FREE)
            labelled = labelled[free].reset_index(drop=True)
        assert len(unlabelled) > 2
        order = [*unlabelled.columns[:3]]
        pd.testing.assert_frame_equal(
            unlabelled.sort_values(order, ignore_index=True),
            labelled[unlabelled.columns].sort_values(order, ignore_index=True),
        )


def test_what_needs_labels_is_absent(runs: tuple[rb.Run, rb.Run]) -> None:
    labelled, unlabelled = (run.table("leaderboard").columns for run in runs)
    assert {"accuracy_worst_neighbours", "consistency_crops"} <= set(labelled)
    assert not [name for name in unlabelled if "error" in name or "accuracy" in name]
    files = runs[1].report()
    written = {path.stem for path in files if path.suffix == ".csv"}
    assert written >= {"leaderboard", "intervals", "perturbations", "consistency"}
    assert not written & {"corruptions", "calibration", "diagonal", "missing"}
    assert not [path for path in files if "diagonal" in path.name]
    page = next(path for path in files if path.name == "index.html")
    assert "imagenet-shift has no labels" in page.read_text(encoding="utf-8")
    compared = runs[1].compare("two", "four")
    assert {"mean_flip_probability_subset", "consistency_crops"} <= set(compared["metric"])
    assert not compared["metric"].str.contains("error|accuracy").any()


def test_predictions_say_that_there_is_no_label(runs: tuple[rb.Run, rb.Run]) -> None:
    files = sorted(runs[1].directory.glob("predictions/**/*.parquet"))
    assert len(files) == 2 * (2 + len(PROTOCOLS))
    for file in files:
        rows = pd.read_parquet(file)
        assert (rows["label"] == -1).all()
        assert rows["label_probability"].isna().all()


def test_a_run_without_labels_continues(
    runs: tuple[rb.Run, rb.Run], folders: tuple[Path, Path]
) -> None:
    files = sorted(runs[1].directory.glob("predictions/**/*.parquet"))
    before = {file: file.read_bytes() for file in files}
    files[0].unlink()
    _run(folders[1], runs[1].directory, unlabelled=True)
    again = {file: file.read_bytes() for file in files}
    assert again.keys() == before.keys()
    assert [file for file in files[1:] if again[file] != before[file]] == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("image-folder", "image-folder measures errors, which need labels; use imagenet-p-live or"),
        ("imagenet-c-live", "imagenet-c-live measures errors, which need labels"),
        ("digits-shift", "digits-shift has labels; leave out --unlabelled"),
    ],
)
def test_data_sets_that_need_labels_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, name: str, message: str
) -> None:
    suite = rb.Suite(["digits:resnet@baseline"], [name], data_dir=str(folders[1]), unlabelled=True)
    with pytest.raises(UsageError, match=message):
        rb.benchmark(suite, output_dir=tmp_path / "run")


def test_folders_without_pictures_are_refused(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match=f"no pictures in {tmp_path}; check --data-dir"):
        rb.ImageFolder(tmp_path, "shift", unlabelled=True).open(Request())
    with pytest.raises(UsageError, match="without labels \\(--unlabelled\\)"):
        open_dataset("imagenet-shift", Request(data_dir=str(folders[1] / "album" / "deep")))


def test_labels_that_contradict_run_json_are_refused(
    runs: tuple[rb.Run, rb.Run], tmp_path: Path
) -> None:
    content = json.loads((runs[1].directory / "run.json").read_text())
    content["datasets"]["imagenet-shift"]["classes"] = 3
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="imagenet-shift has 3 classes, 0 of them with images"):
        rb.Run(tmp_path).leaderboard()


def test_equal_runs_without_labels_are_merged(runs: tuple[rb.Run, rb.Run], tmp_path: Path) -> None:
    folder = runs[1].directory
    merged = rb.merge_runs([folder, folder], tmp_path / "merged")
    assert merged.leaderboard().equals(runs[1].leaderboard())
