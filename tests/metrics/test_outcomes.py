from __future__ import annotations

import numpy as np
import pytest

from robustbench_aa.metrics.figures import figures, means
from robustbench_aa.metrics.outcomes import Outcomes
from robustbench_aa.types import CLEAN, Distortion

FOG = [Distortion("weather", "fog", severity) for severity in (1, 2)]
SPATTER = Distortion("extra", "spatter", 1)
TILT, SHEAR = Distortion("perturbation", "tilt"), Distortion("perturbation_extra", "shear")


def test_means_count_neither_clean_images_nor_hold_out_corruptions() -> None:
    right, wrong = np.zeros(4), np.ones(4)
    outcomes = Outcomes({CLEAN: right, FOG[0]: wrong, FOG[1]: right, SPATTER: wrong})
    assert outcomes.counted() == FOG
    found = figures(means({"corruption": outcomes}), {})
    assert found == {"clean_error": 0.0, "mean_error": 0.5, "holdout_error": 1.0}


def test_a_mean_flip_rate_counts_no_hold_out_perturbation() -> None:
    flips = {TILT: np.array([0.1, 0.3]), SHEAR: np.ones(2)}
    found = figures(means({"perturbation": Outcomes(flips, {}, flips, flips)}), {})
    assert found == {"mean_flip_probability": pytest.approx(0.2)}


def test_a_missing_cell_makes_it_incomplete_unless_it_is_held_out() -> None:
    none = np.full(2, np.nan)
    assert Outcomes({CLEAN: np.zeros(2), SPATTER: none}).complete
    assert not Outcomes({CLEAN: np.zeros(2), FOG[0]: none}).complete


def test_resampled_means_are_of_the_same_images_in_every_cell() -> None:
    random = np.random.default_rng(0)
    wrong = {cell: random.random(50) for cell in FOG}
    model = means({"corruption": Outcomes(wrong)}, resampled=True)
    whole = means({"corruption": Outcomes(wrong)})
    assert model["corruption"].wrong[FOG[0]].shape == (1000,)
    # a model relative to itself is at 100 percent in every resample
    own = figures(model, {"self": model})["mce_self"]
    np.testing.assert_allclose(own, 100.0)
    spread = figures(model, {})["mean_error"]
    assert spread.mean() == pytest.approx(figures(whole, {})["mean_error"], abs=0.01)
    assert spread.std() == pytest.approx(
        np.mean(list(wrong.values()), axis=0).std() / 50**0.5, rel=0.1
    )
