from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.reliability import gate_simulation
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.gate import FAIL, PASS, UNDECIDED, Rule, read_limit, read_rules
from robustbench_aa.metrics.bootstrap import Difference, mean_and_p, mean_interval
from robustbench_aa.metrics.estimates import Sample
from robustbench_aa.metrics.gate import Gate, LimitTest, decide, judge
from robustbench_aa.metrics.per_image import Outcomes
from robustbench_aa.types import CLEAN, COUNTED_CORRUPTIONS, Distortion

CELLS = [Distortion("corruption", name, 1) for name in COUNTED_CORRUPTIONS]


def sample(share: float, images: int = 1000) -> Sample:
    """A model that is wrong on the first images of all distortions, a share of them."""
    wrong = (np.arange(images) < share * images).astype(float)
    return Sample({"corruption": Outcomes(dict.fromkeys((CLEAN, *CELLS), wrong))})


def verdicts(new: Sample, old: Sample | None, **limits: Any) -> list[str]:
    return [result.verdict for result in decide(read_rules(limits), new, old)]


def limit_test(p: float, value: float = 0.02, kind: str = "max_rise") -> LimitTest:
    rule = Rule(kind, "mean_error", 0.01)
    return LimitTest(rule, 100, 0.0, 0.0, Difference(value, value - 0.1, value + 0.1, p))


def test_each_kind_of_rule_passes_and_fails() -> None:
    new, old = sample(0.3), sample(0.2)
    assert verdicts(new, old, max_rise={"mean_error": 0.2}) == [PASS]
    assert verdicts(new, old, max_rise={"mean_error": 0.05}) == [FAIL]
    assert verdicts(new, old, max_rise={"mean_error": 0.1}) == [UNDECIDED]
    assert verdicts(new, old, max_fall={"mean_error": 0.0}) == [PASS]
    assert verdicts(old, new, max_fall={"mean_error": 0.05}) == [FAIL]
    assert verdicts(new, None, max={"mean_error": 0.4}, min={"clean_error": 0.4}) == [PASS, FAIL]
    assert verdicts(new, None, max={"mean_error": 0.2}, min={"clean_error": 0.2}) == [FAIL, PASS]


def test_a_difference_is_tested_image_by_image() -> None:
    # the difference of 2 points is on 20 images; unpaired, its interval would be ±4 points
    (result,) = decide([Rule("max_rise", "mean_error", 0.005)], sample(0.32), sample(0.3))
    assert result.verdict == FAIL
    assert (result.new, result.old) == pytest.approx((0.32, 0.3))
    assert result.value == pytest.approx(0.02)
    # Wald's interval of a paired difference with 20 discordant images, all on one side
    half = 1.96 * sqrt(0.02 * 0.98 / 1000)
    assert (result.low, result.high) == pytest.approx((0.02 - half, 0.02 + half), abs=0.003)


def test_equal_models_on_few_images_prove_nothing() -> None:
    rule = [Rule("max_rise", "mean_error", 0.01)]
    few = decide(rule, sample(0.3, 20), sample(0.3, 20))[0]
    many = decide(rule, sample(0.3, 2000), sample(0.3, 2000))[0]
    assert (few.verdict, many.verdict) == (UNDECIDED, PASS)
    assert few.more_images is not None
    assert few.more_images > 100


def test_more_images_follow_from_the_width_of_the_interval() -> None:
    rule = Rule("max", "mean_error", 0.25)
    (result,) = decide([rule], sample(0.24, 1000))
    assert result.verdict == UNDECIDED
    # 1.96 · sqrt(p · (1 − p) / n) = 0.01 at about 7,000 images
    assert result.more_images == pytest.approx(1.96**2 * 0.24 * 0.76 / 0.01**2 - 1000, rel=0.1)
    assert result.more_images is not None
    whole = round((1000 + result.more_images) * 1.1, -2)
    assert decide([rule], sample(0.24, int(whole)))[0].verdict == PASS
    assert decide([Rule("max", "mean_error", 0.25)], sample(0.25))[0].more_images is None


def test_several_rules_need_stronger_evidence_to_fail_but_not_to_pass() -> None:
    one, two = limit_test(0.03), limit_test(0.6)
    assert [result.verdict for result in judge([one])] == [FAIL]
    assert [result.verdict for result in judge([one, two])] == [UNDECIDED, UNDECIDED]
    assert judge([one, two])[0].p_holm == pytest.approx(0.06)
    within = [limit_test(0.03, value=0.0)] * 5
    assert {result.verdict for result in judge(within)} == {PASS}
    # small p-values of rules that are met must not make it easier for others to fail
    mixed = judge([limit_test(0.03), limit_test(0.0005, value=0.0)])
    assert [result.verdict for result in mixed] == [UNDECIDED, PASS]


def test_a_gate_has_the_worst_verdict_of_its_rules() -> None:
    met, broken, unknown = limit_test(0.001, 0.0), limit_test(0.001), limit_test(0.5)
    for tests, verdict in (
        ([met], PASS),
        ([met, unknown], UNDECIDED),
        ([met, unknown, broken], FAIL),
    ):
        assert Gate("new", "old", judge(tests)).verdict == verdict


def test_the_score_test_agrees_with_wilsons_interval() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        values = random.random(50) ** random.integers(1, 9)
        low, high = mean_interval(values)
        for margin in (low - 1e-6, low + 1e-6, high - 1e-6, high + 1e-6):
            p = mean_and_p(values, margin).p
            assert (p < 0.05) == (not low <= margin <= high)
    assert mean_and_p(np.zeros(9), 0.0).p == 1
    assert mean_and_p(np.eye(9)[0], 0.0).p == 0


def test_an_unknown_or_missing_metric_is_named() -> None:
    new = sample(0.3)
    with pytest.raises(UnknownName, match=r"'mean_eror'; did you mean mean_error"):
        verdicts(new, new, max_rise={"mean_eror": 0.1})
    with pytest.raises(UsageError, match=r"the run has no mean_flip_probability; its metrics are"):
        verdicts(new, new, max_rise={"mean_flip_probability": 0.1})
    with pytest.raises(UsageError, match="mce_alexnet is relative to a baseline"):
        verdicts(new, new, max_rise={"mce_alexnet": 0.1})
    gap = Sample({"corruption": Outcomes({cell: np.full(9, np.nan) for cell in (CLEAN, *CELLS)})})
    with pytest.raises(UsageError, match="mean_error is not complete; evaluate the missing"):
        verdicts(gap, new, max_rise={"mean_error": 0.1})


def test_a_rule_about_one_model_needs_no_data_of_the_other() -> None:
    flips = {Distortion("perturbation", "tilt"): np.zeros(500)}
    tilted = {"perturbation": Outcomes(flips, flips=flips, top5_distance=flips)}
    new, old = Sample({**sample(0.2).outcomes, **tilted}), sample(0.3)
    limits = {"max": {"mean_flip_probability": 0.1}, "max_rise": {"mean_error": 0.01}}
    assert verdicts(new, old, **limits) == [PASS, PASS]
    with pytest.raises(UsageError, match="the run has no mean_flip_probability"):
        verdicts(new, old, max_rise={"mean_flip_probability": 0.01})


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_ris": {}}, "unknown kind of rule 'max_ris'; did you mean max_rise"),
        ({"min": 3}, "min must be a table such as"),
        (3, "must be a table"),
        ({"max_rise": {"mean_error": 1.5}}, "is no fraction; write 0.01 for one percentage point"),
        ({"max_rise": {"mean_error": float("nan")}}, "is no fraction"),
        ({"max_rise": {"mean_error": "0.1"}}, "must be a number"),
        ({"max_rise": {"mean_error": True}}, "must be a number"),
    ],
)
def test_wrong_rules_are_refused(limits: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_rules(limits)


def test_a_limit_is_read_from_the_command_line() -> None:
    assert read_limit("mean_error=0.01") == ("mean_error", 0.01)
    for text in ("mean_error", "=0.1", "mean_error=", "mean_error=x"):
        with pytest.raises(UsageError, match="write METRIC=X"):
            read_limit(text)


def test_simulated_gates_rarely_err() -> None:
    table = pd.DataFrame(gate_simulation.simulate(200)).set_index("case")
    at_limit = table[table.index.str.contains("at its limit|at their limits")]
    assert len(at_limit) == 6
    # at most 5%, and two standard errors of 200 gates
    assert (at_limit["fail"] <= 0.05 + 2 * sqrt(0.05 * 0.95 / 200)).all()
    assert (at_limit["pass"] <= 0.05 + 2 * sqrt(0.05 * 0.95 / 200)).all()
    assert table.loc["all four within by 0.05", "pass"] > 0.9
    assert table.loc["one of four beyond by 0.05", "fail"] > 0.9
