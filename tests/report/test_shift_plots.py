"""Shifts from the predictions to the plot, of a model that they cannot change and of another."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.report.plots import draw_plots
from robustbench_aa.report.tables import Tables
from robustbench_aa.suite import Suite
from tests.conftest import PLAIN, make_classifier

PROTOCOLS = ["circular", "crops", "diagonal", "circular32", "halfpixel", "neighbours"]
DRAWN = ["circular", "diagonal", "halfpixel", "neighbours"]


class Histogram(nn.Module):
    """Counts the pixels of each brightness, wherever they are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = (x[:, 0].flatten(1) * 9.99).long()
        return nn.functional.one_hot(level, 10).sum(dim=1).float() / 100


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    invariant = Classifier(
        Histogram(), name="invariant", input_size=32, classes=10, preprocessing=PLAIN
    )
    suite = Suite(
        [invariant, make_classifier("linear")], ["digits-shift"], protocols=PROTOCOLS, limit=15
    )
    return prepare(suite, tmp_path_factory.mktemp("run"), "cpu").run().tables()


@pytest.fixture
def consistency(tables: Tables) -> pd.DataFrame:
    return tables.consistency.set_index(["model", "protocol"])


@pytest.mark.parametrize("protocol", ["circular", "circular32"])
def test_a_model_that_ignores_places_withstands_circular_shifts(
    consistency: pd.DataFrame, protocol: str
) -> None:
    invariant, linear = (consistency.loc[(model, protocol)] for model in ("invariant", "linear"))
    assert invariant["consistency"] == 1
    assert linear["consistency"] < 1
    if protocol == "circular":
        assert invariant["fooled"] == invariant["accuracy_drop"] == 0
        assert invariant["probability_change"] == 0
        assert invariant["accuracy_worst"] == pytest.approx(invariant["accuracy"])
        assert linear["probability_change"] > 0.01
        assert linear["fooled"] > 0


def test_the_worst_case_is_never_better_than_the_mean(consistency: pd.DataFrame) -> None:
    rows = consistency.dropna(subset="accuracy_worst")
    assert set(rows.index.get_level_values("protocol")) == set(DRAWN)
    assert (rows["accuracy_worst"] <= rows["accuracy"] + 1e-12).all()
    assert (rows["accuracy_worst_low"] <= rows["accuracy_worst"]).all()


def test_each_protocol_with_a_worst_case_has_a_panel(
    tables: Tables, consistency: pd.DataFrame
) -> None:
    panels = {axes.get_title(): axes for axes in draw_plots(tables)["worst_case"].figure.axes}
    assert list(panels) == DRAWN
    for protocol, axes in panels.items():
        drawn = [line.get_xydata() for line in axes.lines if line.get_marker() == "o"]
        expected = consistency.xs(protocol, level="protocol")[["accuracy", "accuracy_worst"]]
        np.testing.assert_allclose(np.concatenate(drawn), 100 * expected.to_numpy())
