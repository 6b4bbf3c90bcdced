from __future__ import annotations

import numpy as np
import pytest

from robustbench_aa.metrics.baselines import alexnet, alexnet_for, imagenet_c
from robustbench_aa.metrics.figures import figures
from robustbench_aa.metrics.outcomes import Outcomes
from robustbench_aa.types import CLEAN, Distortion

COUNTED = [
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
]
PERTURBED = [
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "snow", "brightness"),
    *("translate", "rotate", "tilt", "scale"),
]


def test_alexnet_is_a_hundred_percent_of_itself() -> None:
    cells = [CLEAN, *(Distortion("any", name, s) for name in COUNTED for s in range(1, 6))]
    sequences = {Distortion("perturbation", name): np.zeros(1) for name in PERTURBED}
    unknown = Distortion("any", "caustics", 1)
    run = {
        "corruption": Outcomes({cell: np.zeros(1) for cell in (*cells, unknown)}),
        "perturbation": Outcomes(sequences, {}, sequences, sequences),
    }
    own = alexnet_for(run)
    assert set(own["corruption"].wrong) == set(cells)
    found = figures(own, {"alexnet": own})
    assert found["mce_alexnet"] == found["relative_mce_alexnet"] == 100.0
    assert found["mfr_alexnet"] == pytest.approx(100.0, abs=1e-12)
    assert found["mt5d_alexnet"] == pytest.approx(100.0, abs=1e-12)
    assert found["clean_error"] == 0.435


@pytest.mark.parametrize(
    ("corruption", "mean"),
    [("gaussian_noise", 0.886428), ("brightness", 0.564592), ("saturate", 0.658248)],
)
def test_the_published_means_are_those_of_the_severities(corruption: str, mean: float) -> None:
    severities = [alexnet()[corruption, severity] for severity in range(1, 6)]
    assert np.mean(severities) == pytest.approx(mean, abs=1e-6)


def test_the_published_mce_is_the_mean_of_the_published_ce() -> None:
    table = imagenet_c()
    counted = table[COUNTED]
    whole = counted.notna().all(axis=1)
    assert whole.sum() == 7
    # each CE was published rounded to a whole percent
    assert (counted.mean(axis=1) - table["mce_alexnet"])[whole].abs().max() < 0.5
    assert table.set_index("model").loc["ResNet-50", "mce_alexnet"] == 76.7
    assert table["source"].notna().all()
