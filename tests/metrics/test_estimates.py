from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from robustbench_aa.metrics import estimates
from robustbench_aa.metrics.aggregates import (
    Aggregates,
    normalised_aggregates,
    normalised_by_distortion,
)
from robustbench_aa.metrics.bootstrap import mean_interval
from robustbench_aa.metrics.cell_means import CellMeans, MeansByKind
from robustbench_aa.metrics.estimates import Sample, aggregate_intervals, normalised_intervals
from robustbench_aa.metrics.per_image import Outcomes
from robustbench_aa.types import CLEAN, COUNTED_CORRUPTIONS, Distortion

CELLS = [Distortion("corruption", name, s) for name in COUNTED_CORRUPTIONS for s in (1, 2)]
TILT = Distortion("perturbation", "tilt")
CROPS = Distortion("shift", "crops")


def sample(error: float, images: int = 60, seed: int = 0, flipping: float = 0.2) -> Sample:
    random = np.random.default_rng(seed)
    hard = random.random(images)
    wrong = {cell: (hard + random.normal(0, 0.1, images) < error).astype(float) for cell in CELLS}
    wrong[CLEAN] = (hard < error / 3).astype(float)
    flips = {TILT: (random.random(images) < flipping) * random.random(images)}
    return Sample(
        {
            "corruption": Outcomes(wrong),
            "perturbation": Outcomes({}, flips, {TILT: 18 * flips[TILT]}),
            "shift": Outcomes({}, consistency={CROPS: 1 - flips[TILT]}),
        }
    )


def test_intervals_of_means_over_images() -> None:
    sampled = sample(0.3)
    found = aggregate_intervals(sampled)
    wrong = sampled.outcomes["corruption"].wrong
    expected = {
        "clean_error": wrong[CLEAN],
        "mean_error": np.mean([wrong[cell] for cell in CELLS], axis=0),
        "mean_flip_probability": sampled.outcomes["perturbation"].flips[TILT],
        "consistency_crops": sampled.outcomes["shift"].consistency[CROPS],
    }
    assert list(found) == list(expected)
    for metric, values in expected.items():
        assert found[metric] == pytest.approx(mean_interval(values))


def test_a_metric_that_is_not_a_mean_over_images_has_a_bootstrap_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def worst(model: MeansByKind, baselines: Mapping[str, MeansByKind]) -> Aggregates:
        cells = [model["corruption"].wrong[cell] for cell in CELLS]
        return {"worst_error": np.max(cells, axis=0)}

    monkeypatch.setattr(estimates, "aggregates", worst)
    sampled = sample(0.3)
    value = float(worst(sampled.means, {})["worst_error"])
    low, high = aggregate_intervals(sampled)["worst_error"]
    spread = np.std(worst(sampled.resampled, {})["worst_error"])
    assert low < value < high
    assert 2 * spread < high - low < 6 * spread


def test_a_missing_cell_has_no_interval() -> None:
    sampled = sample(0.3)
    wrong = dict(sampled.outcomes["corruption"].wrong) | {CELLS[4]: np.full(60, np.nan)}
    lacking = Sample({**sampled.outcomes, "corruption": Outcomes(wrong)})
    assert np.isnan(aggregate_intervals(lacking)["mean_error"]).all()
    assert not np.isnan(aggregate_intervals(lacking)["clean_error"]).any()
    for pair in ((lacking, sampled), (sampled, lacking)):
        found = normalised_intervals(*pair, normalised_by_distortion)
        lost = CELLS[4].name
        missing = {cell for (_, cell), bounds in found.items() if np.isnan(bounds).all()}
        assert lost in missing
        assert {cell for (metric, cell) in found if metric in ("ce", "fr")} - missing
        assert np.isnan(normalised_intervals(*pair, normalised_aggregates)["mce"]).all()


def test_a_model_relative_to_itself_has_no_interval() -> None:
    sampled = sample(0.3)
    for compute in (normalised_by_distortion, normalised_aggregates):
        found = normalised_intervals(sampled, sampled, compute)
        assert found
        assert np.isnan([*found.values()]).all()


def test_intervals_relative_to_a_model() -> None:
    ours, theirs = sample(0.3), sample(0.5, seed=1)
    for compute in (normalised_by_distortion, normalised_aggregates):
        values = compute(ours.means, theirs.means)
        found = normalised_intervals(ours, theirs, compute)
        assert list(found) == list(values)
        for key, (low, high) in found.items():
            assert low < float(values[key]) < high


def test_relative_to_constants_it_is_the_interval_of_a_mean() -> None:
    ours = sample(0.3)
    constants = {"perturbation": CellMeans({}, {TILT: np.array(0.4)}, {TILT: np.array(6.0)})}
    found = normalised_intervals(ours, constants, normalised_aggregates)
    values = ours.outcomes["perturbation"].flips[TILT]
    low, high = mean_interval(values)
    assert found["mfr"] == pytest.approx((100 * low / 0.4, 100 * high / 0.4))
    assert found["mt5d"] == pytest.approx((100 * 18 * low / 6, 100 * 18 * high / 6))


@pytest.mark.parametrize("flipping", [0.0, 0.02])
def test_every_interval_has_a_width(flipping: float) -> None:
    ours, theirs = sample(0.0, flipping=flipping), sample(0.5, seed=1)
    intervals = [
        *aggregate_intervals(ours).values(),
        *normalised_intervals(ours, theirs, normalised_aggregates).values(),
        *normalised_intervals(ours, theirs, normalised_by_distortion).values(),
    ]
    widths = [high - low for low, high in intervals if not np.isnan([low, high]).any()]
    assert len(widths) > 30
    assert min(widths) > 0.01


def test_the_clean_error_may_be_of_other_images() -> None:
    ours, theirs = sample(0.3), sample(0.5, seed=1)
    apart = []
    for outcomes in (ours, theirs):
        wrong = dict(outcomes.outcomes["corruption"].wrong)
        clean = Outcomes({CLEAN: np.r_[wrong.pop(CLEAN), np.zeros(7)]})
        apart.append(Sample({"clean": clean, "corruption": Outcomes(wrong)}))
    found = normalised_intervals(*apart, normalised_aggregates)
    value = float(normalised_aggregates(apart[0].means, apart[1].means)["relative_mce"])
    low, high = found["relative_mce"]
    assert low < value < high
