from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robustbench_aa.metrics.comparison import compare
from robustbench_aa.metrics.per_image import Model, Outcomes
from robustbench_aa.metrics.seed_intervals import t_quantile, with_seed_intervals
from robustbench_aa.types import Distortion

MIST = Distortion("corruption", "mist", 3, group="other", role="other")


def model(name: str, wrong: np.ndarray) -> Model:
    """Return a model whose networks are wrong as given, [seeds, images]."""
    seeds = {
        f"{name}-seed{seed}": {"corruption": Outcomes({MIST: values})}
        for seed, values in enumerate(wrong)
    }
    mean = {"corruption": Outcomes({MIST: wrong.mean(axis=0)})}
    return Model(name, 1, mean, seeds)


def compared(a: Model, b: Model) -> pd.DataFrame:
    return with_seed_intervals(compare(a.mean, b.mean), a, b)


@pytest.mark.parametrize("degrees", [2, 3, 3.7, 5, 20, 1e6])
def test_the_quantile_is_students(degrees: float) -> None:
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=0.008)


def test_other_networks_would_differ_by_an_interval_of_the_size_of_welchs_test() -> None:
    """With thousands of images, the seeds decide, and the interval is that of Welch's test."""
    random = np.random.default_rng(0)
    rates = np.array([[0.2, 0.3, 0.4], [0.25, 0.5, 0.6]])
    images = 100_000
    a, b = (
        model(name, (random.random((3, images)) < row[:, None]).astype(float))
        for name, row in zip("ab", rates, strict=True)
    )
    table = compared(a, b)
    means = [
        [seed["corruption"].wrong[MIST].mean() for seed in each.seeds.values()] for each in (a, b)
    ]
    low, high = stats.ttest_ind(*means, equal_var=False).confidence_interval()
    for _, row in table.iterrows():
        assert (row["seeds_low"], row["seeds_high"]) == pytest.approx((low, high), rel=0.01)
        assert row["seeds_low"] < row["low"] < row["high"] < row["seeds_high"]
    assert set(table["metric"]) == {"mean_error_other", "error"}


def test_equal_seeds_leave_the_interval_over_images() -> None:
    random = np.random.default_rng(1)
    wrong = (random.random((2, 300)) < [[0.2], [0.5]]).astype(float)
    a, b = (model(name, np.tile(row, (3, 1))) for name, row in zip("ab", wrong, strict=True))
    row = compared(a, b).iloc[0]
    assert row["seeds_high"] - row["seeds_low"] == pytest.approx(row["high"] - row["low"], rel=0.01)


@pytest.mark.parametrize("seeds", [(1, 1), (2, 3), (3, 1)])
def test_too_few_seeds_have_no_interval(seeds: tuple[int, int]) -> None:
    random = np.random.default_rng(2)
    a, b = (
        model(name, random.random((count, 50))) for name, count in zip("ab", seeds, strict=True)
    )
    table = compared(a, b)
    assert table[["seeds_low", "seeds_high"]].isna().all(axis=None)
    assert table["low"].notna().all()
