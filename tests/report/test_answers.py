"""Answers on shown images, accuracy by confidence, and means over severities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robustbench_aa.metrics.calibration import BINS
from robustbench_aa.report.answers import SEQUENCES
from robustbench_aa.report.tables import Tables
from robustbench_aa.run import Run
from robustbench_aa.store.shards import Store
from tests.forged import forge

MODELS = ["plain", "blur-seed0", "blur-seed1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return forge(folder, MODELS, ["imagenet-c", "imagenet-p"], images=7)


@pytest.fixture(scope="module")
def tables(run: Path) -> Tables:
    return Run(run).tables()


def test_answers_are_the_predictions_on_the_first_images(run: Path, tables: Tables) -> None:
    answers = tables.answers
    store = Store.of_run(run)
    pictures = answers[answers["dataset"] == "imagenet-c"]
    assert set(pictures["image"]) == {0}
    assert set(pictures["model"]) == set(MODELS)
    sequences = answers[answers["dataset"] == "imagenet-p"]
    assert set(sequences["image"]) == set(range(SEQUENCES))
    assert set(sequences["model"]) == {"plain", "blur-seed0"}  # a network of each model
    cell = next(one for one in store.cells("imagenet-c") if str(one.distortion) == "fog/3")
    expected = store.read("blur-seed1", cell, ["top1", "top1_probability", "label"])
    assert expected is not None
    row = pictures.query("model == 'blur-seed1' and distortion == 'fog' and severity == 3").iloc[0]
    assert row["predicted_class"] == expected["top1"][0]
    assert row["probability"] == expected["top1_probability"][0]
    assert row["true_class"] == expected["label"][0]


def test_missing_predictions_have_no_answers(tmp_path: Path) -> None:
    folder = forge(tmp_path, ["a"], ["image-folder"])
    [first, *_] = sorted(folder.rglob("*.parquet"))
    first.write_bytes(b"damaged")
    assert Run(folder).tables().answers.empty


def test_accuracy_by_confidence_explains_the_calibration_error(tables: Tables) -> None:
    bins = tables.reliability
    assert ((bins["confidence"] > bins["bin_low"]) & (bins["confidence"] <= bins["bin_high"])).all()
    assert np.allclose(bins["bin_high"] - bins["bin_low"], 1 / BINS)
    counts = bins.groupby(["model", "severity"])["predictions"].sum()
    assert set(counts["plain"]) == {7 * 15}
    assert set(counts["blur"]) == {2 * 7 * 15}
    # the mean accuracy over the bins is that of the 15 counted corruptions
    errors = tables.corruptions.query("model == 'plain' and severity == 4 and group != 'extra'")
    part = bins.query("model == 'plain' and severity == 4")
    accuracy = (part["accuracy"] * part["predictions"]).sum() / part["predictions"].sum()
    assert accuracy == pytest.approx(1 - errors["error"].mean())


def test_means_over_severities_are_those_of_the_cells(tables: Tables) -> None:
    cells = tables.corruptions.groupby(["model", "corruption"])["error"].mean()
    means = tables.corruption_means.set_index(["model", "corruption"])
    assert len(means) == 2 * 19
    assert (means["error"] - cells).abs().max() == pytest.approx(0, abs=1e-12)
    assert (means["error_low"] < means["error"]).all()
    assert means.loc["plain", "error_std"].isna().all()
    assert means.loc["blur", "error_std"].notna().all()
