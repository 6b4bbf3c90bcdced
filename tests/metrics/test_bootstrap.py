from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robustbench_aa.metrics.bootstrap import (
    LEVEL,
    PAIRED_RESAMPLES,
    RESAMPLES,
    Difference,
    Resampled,
    bootstrap_interval,
    effective_images,
    interval_and_p,
    mean_interval,
    paired_difference,
    ratio_interval,
    resampled_means,
    resampled_sums,
    unseen,
)

SHARES = [0.0, 1 / 30, 0.1, 1 / 3, 0.5, 0.9, 1.0]
shares = st.lists(st.sampled_from(SHARES), min_size=1, max_size=60)
anything = st.lists(st.floats(0, 1), min_size=1, max_size=60)


def proportion(count: int, images: int) -> np.ndarray:
    return (np.arange(images) < count).astype(float)


# means


@pytest.mark.parametrize(
    ("count", "images", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_in_published_examples(
    count: int, images: int, low: float, high: float
) -> None:
    assert mean_interval(proportion(count, images)) == pytest.approx((low, high), abs=5e-5)
    mirrored = mean_interval(proportion(images - count, images))
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize("images", [20, 50, 100, 200])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.98])
def test_an_error_is_in_its_interval_as_often_as_promised(images: int, p: float) -> None:
    """The coverage is exact: every number of wrong images is weighted by its probability."""
    covered = 0.0
    for count in range(images + 1):
        low, high = mean_interval(proportion(count, images))
        covered += stats.binom.pmf(count, images, p) * (low <= p <= high)
    assert covered >= 0.92


FRAMES = np.arange(1, 31)


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param(FRAMES == 1, id="one frame"),
        pytest.param(0.5**FRAMES, id="few frames"),
        pytest.param(np.ones(30), id="uniform"),
        pytest.param(1 / np.sqrt(FRAMES * (31.0 - FRAMES)), id="few or nearly all frames"),
        pytest.param(np.select([FRAMES == 1, FRAMES == 30], [0.8, 0.2]), id="one frame or all"),
    ],
)
def test_rare_flips_of_any_size_are_in_their_interval(weights: np.ndarray) -> None:
    """A tenth of 50 sequences flip, in numbers of frames drawn by the weights."""
    random = np.random.default_rng(0)
    sizes = random.choice(FRAMES / 30, size=(2000, 50), p=weights / weights.sum())
    truth = 0.1 * np.average(FRAMES / 30, weights=weights)
    intervals = np.array([mean_interval(row) for row in sizes * (random.random(sizes.shape) < 0.1)])
    assert np.mean((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])) >= 0.92


@settings(deadline=None)
@given(shares | anything)
def test_an_interval_has_a_width_and_contains_the_mean(values: list[float]) -> None:
    array = np.array(values)
    low, high = mean_interval(array)
    assert 0 <= low < high <= 1
    assert low - 1e-12 <= array.mean() <= high + 1e-12
    turned = mean_interval(1 - array)
    assert turned == pytest.approx((1 - high, 1 - low), abs=1e-9)
    assert mean_interval(array[::-1]) == pytest.approx((low, high), abs=1e-9)
    wider = mean_interval(3 + 15 * array, largest=18, smallest=3)
    assert wider == pytest.approx((3 + 15 * low, 3 + 15 * high), abs=1e-8)


@given(st.integers(0, 60), st.integers(1, 60))
def test_images_of_0_and_1_count_as_they_are(count: int, images: int) -> None:
    assert effective_images(proportion(min(count, images), images)) == pytest.approx(images)


def test_precise_values_count_for_more_images() -> None:
    values = np.random.default_rng(0).beta(20, 80, 500)
    assert effective_images(values) == pytest.approx(500 * 0.2 * 0.8 / values.var(), rel=0.05)
    low, high = mean_interval(values)
    half = 1.96 * values.std() / 500**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=5e-4)


def test_a_small_flip_does_not_prove_that_there_are_no_large_ones() -> None:
    values = np.zeros(50)
    _, nothing = mean_interval(values)
    values[0] = 1 / 90
    _, little = mean_interval(values)
    assert nothing == pytest.approx(0.0713, abs=1e-4)
    assert 0.6 * nothing < little < 1.2 * nothing


def test_the_weight_of_unseen_images() -> None:
    assert unseen(np.full(10, 0.3)) == (1.0, 1.0)
    # four of ten show more than the least, nine less than the most
    values = np.array([0, 0, 0, 0, 0, 0, 0.1, 0.1, 0.1, 0.4])
    assert unseen(values) == pytest.approx((0.6 / 5, 0.1 / 10))


def test_a_missing_cell_has_no_interval() -> None:
    assert np.isnan(mean_interval(np.array([0.0, np.nan]))).all()


def test_no_images_have_no_interval() -> None:
    for compute in (resampled_means, mean_interval):
        with pytest.raises(ValueError, match="no images"):
            compute(np.empty(0))


# ratios


def test_the_spread_is_the_binomial_standard_error() -> None:
    wrong = (np.arange(800) < 200).astype(float)
    means = resampled_means(wrong)
    assert means.mean() == pytest.approx(0.25, abs=0.003)
    assert means.std() == pytest.approx(np.sqrt(0.25 * 0.75 / 800), rel=0.1)


def test_the_same_draws_serve_every_metric() -> None:
    values = np.random.default_rng(0).random(100)
    np.testing.assert_allclose(resampled_means(values) + 1, resampled_means(values + 1), rtol=1e-6)


def test_a_biased_bootstrap_is_corrected() -> None:
    ordered = np.arange(1.0, RESAMPLES + 1)
    plain = bootstrap_interval(500.5, ordered)
    assert plain == pytest.approx((25.5, 975.5), abs=1)
    # two thirds of the resamples lie above the metric
    bias = stats.norm.ppf(1 / 3)
    expected = stats.norm.cdf([2 * bias - 1.96, 2 * bias + 1.96]) * RESAMPLES
    assert bootstrap_interval(333.5, ordered) == pytest.approx(expected, abs=1.5)


def test_a_baseline_that_often_never_fails_leaves_no_upper_bound() -> None:
    resampled = np.linspace(50, 150, RESAMPLES)
    few, many = resampled.copy(), resampled.copy()
    few[-5:] = many[-50:] = np.inf
    low, high = bootstrap_interval(100.0, few)
    assert 50 < low < 100 < high < 150
    assert np.isnan(bootstrap_interval(100.0, many)).all()
    assert np.isnan(bootstrap_interval(np.nan, resampled)).all()


def test_where_nothing_failed_a_ratio_has_wilsons_bound() -> None:
    images, largest = 50, 100 / 0.2
    low, high = ratio_interval(0.0, np.zeros(RESAMPLES), images, (1.0, 1.0), largest, 0.0)
    _, bound = mean_interval(np.zeros(images))
    assert (low, high) == pytest.approx((0.0, 100 * bound / 0.2))


# differences

STEPS = (0.0, 0.01, 0.2, 0.9, 1.0)


def difference(values: list[float] | np.ndarray, largest: float = 1.0) -> Difference:
    array = np.array(values)
    return paired_difference(array, resampled_sums(array), largest)


@pytest.mark.parametrize("images", [30, 1000])
@pytest.mark.parametrize(
    ("more", "less"), [(3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (6, 1), (10, 2), (12, 4)]
)
def test_few_discordant_images_are_judged_as_by_mcnemars_exact_test(
    images: int, more: int, less: int
) -> None:
    values = np.r_[np.ones(more), -np.ones(less), np.zeros(images - more - less)]
    exact = stats.binomtest(more, more + less).pvalue
    # simulation alone moves a p-value of 0.05 by 0.005
    assert difference(values).p == pytest.approx(exact, abs=0.02)
    assert (difference(values).p < LEVEL) == (exact < LEVEL)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([*STEPS, *(-s for s in STEPS)]), min_size=1, max_size=40))
def test_the_p_value_agrees_with_the_interval(values: list[float]) -> None:
    found = difference(values)
    assert found.low < found.high
    assert found.low - 1e-12 <= found.value <= found.high + 1e-12
    assert (found.p < LEVEL) == (found.low > 0 or found.high < 0)
    assert 2 / (PAIRED_RESAMPLES + 1) <= found.p <= 1
    turned = difference([-value for value in values])
    assert turned.p == found.p
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-11)


def test_models_that_never_differ_may_differ_by_what_wilsons_bound_allows() -> None:
    found = difference(np.zeros(100))
    assert found.value == 0
    assert found.p == 1
    assert -found.low == pytest.approx(found.high, abs=0.01)
    assert 0.02 < found.high < 0.04
    assert difference(np.zeros(100), largest=0.5).high == pytest.approx(found.high / 2)


def test_p_values_have_four_decimals() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        p = difference(random.normal(0.2, 1, 50)).p
        assert p == round(p, 4)


def test_the_interval_of_other_resamples() -> None:
    ordered = np.arange(1000) / 1000.0
    low, high, p = interval_and_p(ordered - 0.0235)
    assert (low, high) == pytest.approx((0.0005, 0.9515))
    assert p == pytest.approx(2 * 25 / 1001)
    low, _, p = interval_and_p(ordered - 0.0245)
    assert low < 0
    assert p == pytest.approx(2 * 26 / 1001)
    assert np.isnan(interval_and_p(np.array([0.0, np.nan]))).all()


def test_paired_resamples_are_drawn_with_two_added_images() -> None:
    sums, added = resampled_sums(np.ones((5, 2)))
    assert sums.shape == (PAIRED_RESAMPLES, 2)
    assert (sums[:, 0] == sums[:, 1]).all()
    assert sums.mean() == pytest.approx(5, abs=0.1)
    # two of seven images are the added ones
    assert (7 - sums[:, 0] >= np.abs(added)).all()
    assert added.mean() == pytest.approx(0, abs=0.1)
    assert paired_difference(np.ones(5), Resampled(sums[:, 0], added)).low > 0
