from __future__ import annotations

import numpy as np
import pytest

from robustbench_aa.metrics.aggregates import aggregates
from robustbench_aa.metrics.cell_means import average
from robustbench_aa.metrics.per_image import Outcomes
from robustbench_aa.types import CLEAN, COUNTED_CORRUPTIONS, HOLDOUT_CORRUPTIONS, Distortion

FOG = [Distortion("corruption", "fog", severity) for severity in (1, 2)]
REST = [
    Distortion("corruption", name, severity)
    for name in COUNTED_CORRUPTIONS
    for severity in (1, 2)
    if name != "fog"
]
SPATTER = Distortion("corruption", "spatter", 1)
HELD_OUT = [Distortion("corruption", name, 1) for name in HOLDOUT_CORRUPTIONS]
FOG_3D = Distortion("corruption", "fog_3d", 1)
TILT, SHEAR = (
    Distortion("perturbation", "tilt"),
    Distortion("perturbation", "shear", role="holdout"),
)


def test_means_count_neither_clean_images_nor_hold_out_corruptions() -> None:
    right, wrong = np.zeros(4), np.ones(4)
    rest = dict.fromkeys(REST, right)
    outcomes = Outcomes(
        {CLEAN: wrong, FOG[0]: wrong, FOG[1]: right, **rest, **dict.fromkeys(HELD_OUT, wrong)}
    )
    assert outcomes.counted() == [*FOG, *REST]
    found = aggregates(average({"corruption": outcomes}), {})
    assert found == {
        "clean_error": 1.0,
        "mean_error": pytest.approx(0.5 / 15),
        "holdout_error": 1.0,
    }


def test_a_corruption_beside_the_published_ones_has_a_mean_of_its_own() -> None:
    right, wrong = np.zeros(4), np.ones(4)
    cells = dict.fromkeys([*FOG, *REST], right) | {FOG_3D: wrong}
    found = aggregates(average({"corruption": Outcomes(cells)}), {})
    assert found == {"mean_error": 0.0, "mean_error_other": 1.0}
    unmeasured = Outcomes(cells | {FOG_3D: np.full(4, np.nan)})
    assert unmeasured.complete


def test_a_set_without_published_corruptions_has_no_mean_error() -> None:
    bar = [Distortion("corruption", name, 1) for name in ("caustic_refraction", "sparkles")]
    of_bar = Outcomes({bar[0]: np.ones(2), bar[1]: np.zeros(2)})
    found = aggregates(average({"corruption": of_bar}), {"self": average({"corruption": of_bar})})
    assert found == {"mean_error_other": 0.5}
    assert of_bar.counted() == bar
    assert not Outcomes({bar[0]: np.full(2, np.nan), bar[1]: np.zeros(2)}).complete


def test_a_corruption_of_the_group_extra_does_not_redefine_the_hold_outs() -> None:
    mine = Distortion("corruption", "mine", 1, group="extra")
    cells = dict.fromkeys(HELD_OUT, np.zeros(2)) | {mine: np.ones(2)}
    found = aggregates(average({"corruption": Outcomes(cells)}), {})
    assert found == {"holdout_error": 0.0, "mean_error_other": 1.0}


@pytest.mark.parametrize("name", ["fog", "saturate"])
def test_a_part_of_the_published_corruptions_has_no_published_mean(name: str) -> None:
    cells = {cell: np.zeros(2) for cell in (*FOG, *REST, *HELD_OUT) if cell.name != name}
    found = aggregates(average({"corruption": Outcomes(cells)}), {})
    lost = "mean_error" if name == "fog" else "holdout_error"
    assert [metric for metric, value in found.items() if np.isnan(value)] == [lost]


@pytest.mark.parametrize("turned", [False, True])
def test_the_clean_error_does_not_depend_on_the_order_of_the_commands(turned: bool) -> None:
    alone = Outcomes({CLEAN: np.array([1.0, 0.0])})
    cells = dict.fromkeys([*FOG, *REST], np.ones(4))
    unmeasured = Outcomes({CLEAN: np.full(4, np.nan), **cells})
    by_kind = {"clean": alone, "corruption": unmeasured}
    if turned:
        by_kind = dict(reversed(by_kind.items()))
    model = average(by_kind)
    found = aggregates(model, {"self": model})
    assert found["clean_error"] == 0.5
    assert found["relative_mce_self"] == pytest.approx(100.0)
    corrupted = Outcomes({CLEAN: np.array([1.0, 0, 0, 0]), **cells})
    model = average(by_kind | {"corruption": corrupted})
    assert aggregates(model, {})["clean_error"] == 0.5


def test_a_mean_flip_rate_counts_no_hold_out_perturbation() -> None:
    flips = {TILT: np.array([0.1, 0.3]), SHEAR: np.ones(2)}
    found = aggregates(
        average({"perturbation": Outcomes(flips, flips=flips, top5_distance=flips)}), {}
    )
    assert found == {"mean_flip_probability": pytest.approx(0.2)}


def test_a_missing_cell_makes_it_incomplete_unless_it_is_held_out() -> None:
    none = np.full(2, np.nan)
    assert Outcomes({CLEAN: np.zeros(2), SPATTER: none}).complete
    assert not Outcomes({CLEAN: np.zeros(2), FOG[0]: none}).complete


def test_resampled_means_are_of_the_same_images_in_every_cell() -> None:
    random = np.random.default_rng(0)
    wrong = {cell: random.random(50) for cell in (*FOG, *REST)}
    model = average({"corruption": Outcomes(wrong)}, resampled=True)
    whole = average({"corruption": Outcomes(wrong)})
    assert model["corruption"].wrong[FOG[0]].shape == (1000,)
    # a model relative to itself is at 100 percent in every resample
    own = aggregates(model, {"self": model})["mce_self"]
    np.testing.assert_allclose(own, 100.0)
    spread = aggregates(model, {})["mean_error"]
    assert spread.mean() == pytest.approx(aggregates(whole, {})["mean_error"], abs=0.01)
    assert spread.std() == pytest.approx(
        np.mean(list(wrong.values()), axis=0).std() / 50**0.5, rel=0.1
    )
