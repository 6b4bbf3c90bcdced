from __future__ import annotations

import pytest

from robustbench_aa.metrics.metric import find_metric, is_normalised


@pytest.mark.parametrize(
    ("column", "name", "normalised"),
    [
        ("clean_error", "clean_error", False),
        ("mean_error_other", "mean_error_other", False),
        ("mean_error_low", "mean_error", False),
        ("mce", "mce", True),
        ("mce_digits:resnet@baseline_std", "mce", True),
        ("relative_mce_my_model", "relative_mce", True),
        ("mt5d_alexnet", "mt5d", True),
        ("consistency_crops", "consistency", False),
        ("images", None, False),
        ("mcespresso", None, False),
    ],
)
def test_a_column_is_named_after_its_metric(
    column: str, name: str | None, normalised: bool
) -> None:
    metric = find_metric(column)
    assert (metric.name if metric else None) == name
    assert is_normalised(column) == normalised


def test_consistency_is_better_the_higher_it_is_and_errors_the_lower() -> None:
    for column, higher in (("consistency_circular", True), ("mean_error", False)):
        metric = find_metric(column)
        assert metric is not None
        assert metric.higher_is_better is higher
