"""The differences between all pairs are those of a comparison of two models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from robustbench_aa.metrics import pairs
from robustbench_aa.metrics.comparison import compare
from robustbench_aa.metrics.pairs import differences
from robustbench_aa.metrics.per_image import Outcomes, OutcomesByKind
from robustbench_aa.types import CLEAN, COUNTED_CORRUPTIONS, Distortion

CELLS = [CLEAN, *(Distortion("corruption", name, 1) for name in COUNTED_CORRUPTIONS)]
TILT = Distortion("perturbation", "tilt")


def outcomes(error: float, seed: int, missing: Distortion | None = None) -> OutcomesByKind:
    random = np.random.default_rng(seed)
    wrong = {cell: (random.random(60) < error).astype(float) for cell in CELLS}
    if missing:
        wrong[missing] = np.full(60, np.nan)
    flips = {TILT: random.random(25) * error}
    unknown = {TILT: np.zeros(25)}
    sequences = Outcomes(unknown, flips=flips, top5_distance=unknown)
    return {"corruption": Outcomes(wrong), "perturbation": sequences}


MODELS = {"a": outcomes(0.2, 0), "b": outcomes(0.4, 1), "c": outcomes(0.3, 2, missing=CELLS[3])}


def test_each_pair_is_the_comparison_of_two_models() -> None:
    table = differences(MODELS)
    assert list(zip(table["model"], table["other"], strict=True)) == [
        *[("b", "a")] * (table["other"].eq("a") & table["model"].eq("b")).sum(),
        *[("c", "a")] * (table["other"].eq("a") & table["model"].eq("c")).sum(),
        *[("b", "c")] * (table["other"].eq("c") & table["model"].eq("b")).sum(),
    ]
    for (model, other), rows in table.groupby(["model", "other"]):
        expected = compare(MODELS[model], MODELS[other]).dropna(subset="p")
        keys = ["metric", "distortion"]
        both = rows.merge(expected, on=keys, suffixes=("", "_expected"))
        assert len(both) == len(rows)
        assert set(zip(*(expected[key] for key in keys), strict=True)) == set(
            zip(*(rows[key] for key in keys), strict=True)
        )
        for column in ("difference", "low", "high", "p", "p_holm"):
            np.testing.assert_allclose(
                both[column].astype(float), both[f"{column}_expected"].astype(float), atol=1e-11
            )
        np.testing.assert_allclose(both["value"], both["a"])
        np.testing.assert_allclose(both["other_value"], both["b"])


def test_an_incomplete_cell_has_no_row() -> None:
    table = differences(MODELS)
    missing = table[(table["distortion"] == CELLS[3].name) | (table["metric"] == "mean_error")]
    assert {*zip(missing["model"], missing["other"], strict=True)} == {("b", "a")}


def test_many_models_are_compared_with_the_first_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MODELS", 2)
    table = differences(MODELS, first="b")
    assert {*zip(table["model"], table["other"], strict=True)} == {("a", "b"), ("c", "b")}


def test_a_single_model_has_no_pairs() -> None:
    assert isinstance(differences({"a": MODELS["a"]}), pd.DataFrame)
    assert differences({"a": MODELS["a"]}).empty
