from __future__ import annotations

import numpy as np

from robustbench_aa.metrics.outcomes import Outcomes
from robustbench_aa.types import CLEAN, Distortion

FOG = [Distortion("weather", "fog", severity) for severity in (1, 2)]
SPATTER = Distortion("extra", "spatter", 1)


def test_means_count_neither_clean_images_nor_hold_out_corruptions() -> None:
    right, wrong = np.zeros(4), np.ones(4)
    outcomes = Outcomes({CLEAN: right, FOG[0]: wrong, FOG[1]: right, SPATTER: wrong})
    assert outcomes.counted() == FOG
    assert outcomes.held_out() == [SPATTER]
    errors = outcomes.errors(FOG)
    assert errors.index.tolist() == ["fog"]
    assert errors.loc["fog"].to_dict() == {1: 1.0, 2: 0.0}


def test_a_missing_cell_makes_it_incomplete() -> None:
    assert Outcomes({CLEAN: np.zeros(2)}).complete
    assert not Outcomes({CLEAN: np.zeros(2), FOG[0]: np.full(2, np.nan)}).complete
