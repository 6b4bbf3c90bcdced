from __future__ import annotations

import numpy as np
import pytest

from robustbench_aa.metrics.comparison import compare, exact_test, holm, in_words
from robustbench_aa.metrics.outcomes import ByKind, Outcomes
from robustbench_aa.types import CLEAN, Distortion

FOG = [Distortion("weather", "fog", severity) for severity in range(1, 6)]
SNOW = [Distortion("weather", "snow", severity) for severity in range(1, 6)]
TILT = Distortion("perturbation", "tilt")


def test_mcnemar_on_a_known_table() -> None:
    # of 25 discordant pairs, 20 on one side: 2 · P(X ≥ 20), X ~ B(25, 1/2)
    assert exact_test(5, 20) == pytest.approx(0.0040773, abs=1e-7)
    assert exact_test(20, 5) == exact_test(5, 20)
    assert exact_test(0, 0) == exact_test(3, 3) == 1.0
    assert exact_test(0, 1) == 1.0


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0


def models(shift: float, images: int = 400, seed: int = 0) -> tuple[ByKind, ByKind]:
    """Two models that are wrong on 30% and on 30% + shift of the same images, mostly."""
    random = np.random.default_rng(seed)
    a: dict[Distortion, np.ndarray] = {}
    b: dict[Distortion, np.ndarray] = {}
    for cell in (CLEAN, *FOG, *SNOW):
        hard = random.random(images)
        a[cell] = (hard + random.normal(0, 0.05, images) < 0.3).astype(float)
        b[cell] = (hard + random.normal(0, 0.05, images) < 0.3 + shift).astype(float)
    flips = {TILT: random.random(images)}
    return (
        {"corruption": Outcomes(a), "perturbation": Outcomes(flips, {}, flips, flips)},
        {"corruption": Outcomes(b), "perturbation": Outcomes(flips, {}, flips, flips)},
    )


def test_a_difference_that_is_there_is_found() -> None:
    a, b = models(0.1)
    table = compare(a, b).set_index(["figure", "of"])
    mean = table.loc[("mean_error", "")]
    assert mean["difference"] == pytest.approx(mean["a"] - mean["b"])
    assert mean["low"] < mean["difference"] < mean["high"] < 0
    assert (table.loc["error"]["p_holm"] < 0.001).all()
    fog = table.loc[("error", "fog")]
    ours, theirs = (np.mean([of["corruption"].wrong[c] for c in FOG], axis=0) for of in (a, b))
    assert (fog["a_better"], fog["b_better"]) == ((ours < theirs).sum(), (ours > theirs).sum())
    words = in_words(compare(a, b), "one", "other")
    assert words.startswith("one fails less often than other (corrupted images): -")
    assert "Of 2 corruptions, one is better under 2 and worse under 0 beyond chance." in words
    assert "Of 1 perturbations, one is better under 0 and worse under 0" in words
    assert in_words(compare(b, a), "other", "one").startswith("other fails more often than one")


def test_a_model_cannot_be_told_from_itself() -> None:
    a, _ = models(0.0)
    table = compare(a, a)
    assert (table["difference"] == 0).all()
    assert (table["p"].dropna() == 1).all()
    assert "cannot be told apart" in in_words(table, "a", "a")


def test_differences_that_are_not_there_are_found_as_rarely_as_promised() -> None:
    found = outside = 0
    for seed in range(60):
        table = compare(*models(0.0, 200, seed)).set_index(["figure", "of"])
        found += (table.loc["error"]["p_holm"] < 0.05).any()
        mean = table.loc[("mean_error", "")]
        outside += not mean["low"] <= 0 <= mean["high"]
    assert found <= 7
    assert outside <= 8


def test_a_missing_cell_has_no_row_and_its_aggregates_no_interval() -> None:
    a, b = models(0.1)
    wrong = dict(a["corruption"].wrong) | {FOG[2]: np.full(400, np.nan)}
    table = compare({"corruption": Outcomes(wrong)}, b).set_index(["figure", "of"])
    assert np.isnan(table.loc[("mean_error", ""), "difference"])
    assert list(table.loc["error"].index) == ["snow"]
    words = in_words(compare({"clean": Outcomes({CLEAN: wrong[CLEAN]})}, {}), "a", "b")
    assert words == "a and b have no complete figure in common."
