from __future__ import annotations

import pytest

from robustbench_aa.metrics import corruption_error as ce
from robustbench_aa.metrics.baselines import alexnet, imagenet_c

HELD_OUT = ["speckle_noise", "gaussian_blur", "spatter", "saturate"]


def test_alexnet_is_a_hundred_percent_of_itself() -> None:
    errors = alexnet().errors.drop(index=HELD_OUT)
    assert errors.shape == (15, 5)
    assert ce.mean_of(ce.corruption_error(errors, errors)) == 100.0
    clean = alexnet().clean_error
    assert ce.mean_of(ce.relative_corruption_error(errors, clean, errors, clean)) == 100.0


@pytest.mark.parametrize(
    ("corruption", "mean"),
    [("gaussian_noise", 0.886428), ("brightness", 0.564592), ("saturate", 0.658248)],
)
def test_the_published_means_are_those_of_the_severities(corruption: str, mean: float) -> None:
    assert alexnet().errors.loc[corruption].mean() == pytest.approx(mean, abs=1e-6)


def test_the_published_mce_is_the_mean_of_the_published_ce() -> None:
    table = imagenet_c()
    counted = table[alexnet().errors.index.drop(HELD_OUT)]
    whole = counted.notna().all(axis=1)
    assert whole.sum() == 7
    # each CE was published rounded to a whole percent
    assert (counted.mean(axis=1) - table["mce_alexnet"])[whole].abs().max() < 0.5
    assert table.set_index("model").loc["ResNet-50", "mce_alexnet"] == 76.7
    assert table["source"].notna().all()
