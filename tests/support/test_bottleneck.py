"""The sentence on what bounds an evaluation."""

from __future__ import annotations

import pytest

from robustbench_aa.support.bottleneck import NOTHING, bottleneck
from robustbench_aa.support.stage_times import STAGES


@pytest.mark.parametrize(
    ("seconds", "device", "used", "sentence"),
    [
        (
            {"forward": 83, "distort": 15},
            "cuda:1",
            [],
            "The model takes 83% of the time: try --amp, --channels-last or --compile.",
        ),
        ({"forward": 90}, "cpu", ["--amp", "--compile"], "The model takes 90% of the time: try --"),
        (
            {"forward": 90},
            "cpu",
            ["--amp", "--channels-last", "--compile"],
            "The model takes 90% of the time.",
        ),
        # the thread that prefetches was busy all the time, and the models waited for it
        (
            {"decode": 90, "distort": 5, "waiting": 76, "forward": 24},
            "cuda",
            [],
            "Decoding takes 72% of the time: try more --workers or",
        ),
        # it was busy as well, but the models hardly waited
        ({"decode": 90, "waiting": 5, "forward": 95}, "cuda", [], "The model takes 95%"),
        ({"distort": 60, "forward": 40}, "cpu", [], "Distorting takes 60% of the time: try --devi"),
        ({"distort": 60, "waiting": 60, "forward": 40}, "cuda", [], "Distorting takes 60% of the"),
        # what was written while other stages ran cost nothing
        ({"commit": 70, "forward": 95}, "cpu", [], "The model takes 95%"),
        ({"commit": 70, "forward": 30}, "cpu", [], "Writing prediction files takes 70% of the"),
        ({}, "cpu", [], NOTHING),
    ],
)
def test_it_names_the_stage_and_what_helps(
    seconds: dict[str, float], device: str, used: list[str], sentence: str
) -> None:
    measured = dict.fromkeys(STAGES, 0.0) | {"wall": 100.0} | seconds
    assert bottleneck(measured, device, used).startswith(sentence)
