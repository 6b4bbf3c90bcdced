"""Published rows and baselines beside those of a run, on forged predictions."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from robustbench_aa.datasets.pictures import AS_MADE, STORED
from robustbench_aa.errors import UsageError
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.metrics.baselines import GEOMETRIES, is_comparable, published_table
from robustbench_aa.metrics.per_image import read_models
from robustbench_aa.report.leaderboard import Leaderboard
from robustbench_aa.report.page import render_page
from robustbench_aa.report.terminal import leaderboard_table
from robustbench_aa.run import Run
from robustbench_aa.store.kinds import kinds_of
from robustbench_aa.store.shards import Store
from robustbench_aa.suite import Suite
from robustbench_aa.types import CLEAN, PHOTOGRAPHS, Distortion
from tests.conftest import make_classifier
from tests.forged import forge

BY_ALEXNET = ["mce_alexnet", "relative_mce_alexnet", "mfr_alexnet", "mt5d_alexnet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "imagenet"
    return Run(forge(folder, ["mine-seed0", "mine-seed1", "other"]))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    suite = Suite([make_classifier("mine")], ["digits-c", "digits-p"], limit=1)
    return prepare(suite, tmp_path_factory.mktemp("digits"), "cpu").run()


def test_published_rows_come_last_and_have_no_rank(run: Run) -> None:
    written = run.report(with_published=True)
    assert next(path.name for path in written) == "leaderboard.csv"
    text = (run.directory / "report" / "leaderboard.csv").read_text().splitlines()
    run.report()
    own = (run.directory / "report" / "leaderboard.csv").read_text().splitlines()
    assert text[: len(own)] == [own[0] + ",source", *(line + "," for line in own[1:])]
    assert len(text) == len(own) + len(published_table("leaderboard"))
    board = run.tables(with_published=True).leaderboard
    rows = board[board["source"].notna()]
    shared = ["clean_error", "mean_error", *BY_ALEXNET, "consistency_crops"]
    pd.testing.assert_frame_equal(
        rows[["model", *shared, "source"]].reset_index(drop=True),
        published_table("leaderboard")[["model", *shared, "source"]],
        check_dtype=False,
    )
    assert rows.drop(columns=["model", *shared, "source"]).isna().all(axis=None)
    assert set(own[0].split(",")) == set(board) - {"source"}


def test_only_rows_and_columns_that_the_run_has_too(tmp_path: Path) -> None:
    folder = forge(tmp_path / "run", ["mine"], ["imagenet-shift"])
    board = Run(folder).tables(with_published=True).leaderboard
    rows = board[board["source"].notna()]
    assert len(rows) == 9 * 5 + 23
    metrics = rows.drop(columns=["model", "source"])
    assert [name for name in metrics if metrics[name].notna().any()] == ["consistency_crops"]
    assert rows["consistency_crops"].notna().all()


def test_a_mean_over_other_corruptions_does_not_stand_beside_published_ones(
    tmp_path: Path,
) -> None:
    entry = {**asdict(Distortion("corruption", "caustics", 1)), "frames": 1}
    folder = forge(tmp_path / "run", ["mine"], ["imagenet-c"], distortions=[entry])
    columns = set(Run(folder).leaderboard())
    assert "mean_error_other" in columns
    assert not [column for column in columns if column == "mean_error" or column.startswith("mce_")]
    with pytest.raises(
        UsageError, match=r"no published results for the metrics of this run on imagenet-c; leave"
    ):
        Run(folder).tables(with_published=True)
    with pytest.raises(UsageError, match="baseline resnet50 is published only for"):
        Run(folder).tables("resnet50")


def test_the_geometries_are_those_of_the_data_sets() -> None:
    assert {str(AS_MADE), str(STORED)} < set(GEOMETRIES)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": 10},
        {"size": 299},
        {"geometry": "Resize 232 bilinear, CenterCrop 224"},
        {"pixels": "imagecorruptions 1.1.2"},
        {"labels": {"rule": "sorted folders", "present": 1000}},
        {"labels": {"rule": "ImageNet wnids", "present": 200}},
    ],
    ids=str,
)
def test_other_photographs_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    folder = forge(tmp_path / "run", ["mine"], ["image-folder"], **changes)
    value = next(iter(changes.values()))
    described = next(str(part) for part in (value.values() if isinstance(value, dict) else [value]))
    with pytest.raises(
        UsageError, match=rf"image-folder \(.*{described}.*\); leave out --with-publ"
    ):
        Run(folder).tables(with_published=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": 3},
        {"size": 299, "geometry": "Resize 320 bicubic, CenterCrop 299"},
        {"labels": {"rule": "ImageNet wnids", "present": 200}},
        {"labels": {"rule": "numbered folders", "present": 1000}},
        {"pixels": "torch"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dataset", ["imagenet-c", "imagenet-p"])
def test_columns_relative_to_alexnet_need_comparable_data(
    tmp_path: Path, dataset: str, changes: dict[str, object]
) -> None:
    fitting = Run(forge(tmp_path / "fits", ["mine"], [dataset]))
    assert fitting.leaderboard().filter(regex="_alexnet$").notna().all(axis=None)
    assert not fitting.leaderboard().filter(regex="_alexnet$").empty
    assert "alexnet" in set(fitting.tables().relative["baseline"])
    other = Run(forge(tmp_path / "other", ["mine"], [dataset], **changes))
    assert other.leaderboard().filter(like="_alexnet").empty
    assert "alexnet" not in set(other.tables().relative.get("baseline", []))


def test_digits_are_refused_by_name(digits: Run) -> None:
    with pytest.raises(UsageError, match=r"digits-c \(10 of 10 classes .*, 32 px, .* digits-p \("):
        digits.tables(with_published=True)
    for name in ("alexnet", "resnet50"):
        with pytest.raises(UsageError) as refusal:
            digits.tables(name)
        assert str(refusal.value) == (
            f"baseline {name} is published only for the distortions of ImageNet-C and ImageNet-P, "
            "and this run uses digits-c, digits-p; name a model of the run: mine"
        )


def test_the_published_resnet50_is_a_baseline_on_request(run: Run) -> None:
    plain, asked = run.tables(), run.tables("resnet50")
    assert not [column for column in plain.leaderboard if "resnet50" in column]
    pd.testing.assert_frame_equal(
        plain.leaderboard, asked.leaderboard.drop(columns=asked.leaderboard.filter(like="resnet50"))
    )
    row = asked.leaderboard.set_index("model").loc["other"]
    errors = plain.corruptions[plain.corruptions["model"] == "other"]
    errors = errors[errors["group"] != "extra"].groupby("corruption", sort=False)["error"].sum()
    constants = published_table("corruptions").groupby("corruption")["error"].sum()
    table = published_table("normalised").set_index(["model", "metric"]).loc["ResNet-50"]
    ce = table.loc["ce"].set_index("distortion")["value"]
    base = (ce / 100 * constants)[errors.index]
    assert row["mce_resnet50"] == pytest.approx(100 * (errors / base).mean())
    loss, base_loss = errors - 5 * row["clean_error"], base - 5 * 0.239
    assert row["relative_mce_resnet50"] == pytest.approx(100 * (loss / base_loss).mean())
    rates = plain.perturbations.set_index(["model", "perturbation"]).loc["other"]
    of_alexnet = published_table("perturbations").set_index("perturbation")
    for metric, part, column in (
        ("mfr", "fr", "flip_probability"),
        ("mt5d", "t5d", "top5_distance"),
    ):
        share = table.loc[part].set_index("distortion")["value"] / 100
        expected = 100 * (rates[column] / (share * of_alexnet[column])[rates.index]).mean()
        assert row[f"{metric}_resnet50"] == pytest.approx(expected)
    assert set(asked.normalised["baseline"]) == {"resnet50", "alexnet"}
    assert {f"{aggregate}_resnet50" for aggregate in ("mce", "mfr")} < set(
        asked.intervals["metric"]
    )


def test_relative_metrics_need_clean_images_of_any_data_set(run: Run, tmp_path: Path) -> None:
    assert set(BY_ALEXNET) < set(run.leaderboard())
    alone = Run(forge(tmp_path / "run", ["mine"], ["imagenet-c"])).leaderboard()
    assert "mce_alexnet" in alone
    assert "relative_mce_alexnet" not in alone


def test_a_board_serves_every_baseline(run: Run) -> None:
    store = Store.of_run(run.directory)
    board = Leaderboard(read_models(store), kinds_of(store.manifest), store.manifest.datasets)
    assert board.baselines == ("mine", "other", "alexnet", "resnet50")
    for baseline in (None, *board.baselines):
        tables = run.tables(baseline)
        pd.testing.assert_frame_equal(board.table(baseline), tables.leaderboard)
        pd.testing.assert_frame_equal(board.intervals(baseline), tables.intervals)
        pd.testing.assert_frame_equal(board.normalised(baseline), tables.normalised)
        pd.testing.assert_frame_equal(board.seeds(baseline), tables.seeds)


def test_a_model_of_the_run_takes_precedence_over_a_published_name(tmp_path: Path) -> None:
    run = Run(forge(tmp_path / "run", ["alexnet", "mine"], ["imagenet-c", "image-folder"]))
    published_one = run.leaderboard().set_index("model")["mce_alexnet"]
    own = run.leaderboard("alexnet").set_index("model")["mce_alexnet"]
    assert own["alexnet"] == pytest.approx(100)
    assert published_one["alexnet"] != pytest.approx(100)
    for baseline in (None, "alexnet", "mine"):
        found = run.tables(baseline).intervals.query("metric == 'mce_alexnet'")
        bounded = found.dropna(subset="low")
        assert len(bounded) == (1 if baseline == "alexnet" else 2)
        assert bounded["value"].between(bounded["low"], bounded["high"]).all()
    rows = run.tables("alexnet", with_published=True).leaderboard.dropna(subset="source")
    assert rows["mce_alexnet"].isna().all()
    assert np.isfinite(rows["clean_error"]).all()


def test_a_terminal_marks_published_rows(run: Run) -> None:
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(leaderboard_table(run.tables(with_published=True)))
    title, *lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert title == "leaderboard; †: published, with its source in leaderboard.csv"
    assert sum(" † " in line for line in lines) == len(published_table("leaderboard"))
    (row,) = [line.split() for line in lines if "Stylized ImageNet" in line]
    assert row[:7] == ["–", "ResNet-50", "Stylized", "ImageNet", "†", "0.2541", "–"]
    (own,) = [line.split() for line in lines if " other " in line]
    assert own[1:3] == ["other", "0.7500"]


def test_the_page_says_which_constants_are_unverified(tmp_path: Path) -> None:
    for dataset, unverified in (("imagenet-p", True), ("imagenet-c", False)):
        run = Run(forge(tmp_path / dataset, ["mine"], [dataset]))
        page = render_page("a run", run.tables(), {}, None)
        assert ("unverified constants of AlexNet" in page) == unverified


CELLS = {
    "image-folder": CLEAN,
    "imagenet-c": Distortion("corruption", "fog", 1),
    "imagenet-p": Distortion("perturbation", "tilt"),
    "imagenet-shift": Distortion("shift", "crops"),
    "digits-c": Distortion("corruption", "fog", 1),
}


@pytest.mark.parametrize(
    ("dataset", "pixels", "fits"),
    [
        ("imagenet-c", "files", True),
        ("imagenet-c-live", "torch, JPEG 85", True),
        ("imagenet-c-live", "torch", False),
        ("imagenet-c-live", "imagecorruptions 1.1.2, JPEG 85", False),
        ("imagenet-p", "files", True),
        # along videos, models flip less under noise: docs/metrics.md
        ("imagenet-p-live", "torch", False),
        ("image-folder", "torch", True),
        ("imagenet-shift", "torch", True),
        ("digits-c", "torch", False),
    ],
)
def test_published_metrics_need_the_released_data_or_equal_data(
    dataset: str, pixels: str, fits: bool
) -> None:
    described = {"classes": 1000, "size": 224, "geometry": str(AS_MADE), "pixels": pixels}
    described["labels"] = {"rule": "ImageNet wnids", "present": 1000}
    described["collection"] = "digits" if dataset == "digits-c" else PHOTOGRAPHS
    described["distortions"] = [{**asdict(CELLS[dataset.removesuffix("-live")]), "frames": 1}]
    assert is_comparable(described) == fits
