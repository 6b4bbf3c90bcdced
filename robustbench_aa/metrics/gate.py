"""Decide whether a model meets the rules of a gate, from outcomes image by image.

A rule limits a quantity: a metric of the new model, or its difference from the old model's. The
limit is tested against the quantity's 95% interval. Rises and falls take the paired bootstrap of
`compare`, values take the interval of the leaderboard.

- pass: the whole interval is on the allowed side of the limit;
- fail: the whole interval is beyond the limit, with Holm's correction over the rules, so that a
  gate of several rules rarely fails a model that meets all of them;
- undecided: otherwise.

A gate passes if all its rules pass. This needs no correction: a model that breaks a rule passes
only if the test of that rule errs (Berger, "Multiparameter hypothesis testing and acceptance
sampling", Technometrics 1982). `benchmarks/reliability/gate_simulation.py` simulates both errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isnan

import numpy as np

from robustbench_aa.errors import UnknownName, UsageError, near_matches
from robustbench_aa.gate import FAIL, PASS, UNDECIDED, Rule
from robustbench_aa.metrics.aggregates import aggregates
from robustbench_aa.metrics.bootstrap import (
    EQUAL,
    LEVEL,
    NORMAL,
    Difference,
    Z,
    interval_and_p,
    mean_and_p,
    paired_difference,
    resampled_columns,
)
from robustbench_aa.metrics.comparison import holm
from robustbench_aa.metrics.estimates import Sample, values_by_image
from robustbench_aa.metrics.metric import METRICS, find_metric


@dataclass(frozen=True)
class LimitTest:
    """The test of a rule's limit.

    Attributes:
        rule: The rule.
        images: Number of images that the metric is about.
        new, old: Values of the metric; `old` is NaN if the rule is about one model.
        difference: The limited quantity with its 95% interval, and the two-sided p-value of the
            hypothesis that it equals the limit.
    """

    rule: Rule
    images: int
    new: float
    old: float
    difference: Difference

    @property
    def beyond(self) -> bool:
        """Whether the estimate is beyond the limit."""
        value, limit = self.difference.value, self.rule.limit
        return value > limit if self.rule.how.upper else value < limit


@dataclass(frozen=True)
class Result:
    """A rule with its verdict.

    Attributes:
        rule: The rule.
        verdict: `pass`, `fail` or `undecided`.
        images: Number of images that the metric is about.
        new, old: Values of the metric; `old` is NaN if the rule is about one model.
        value, low, high: The limited quantity and its 95% interval.
        p: Two-sided p-value of the hypothesis that the quantity equals the limit.
        p_holm: Holm's correction, over all rules, of the p-values of estimates beyond their limit;
            1 for the other rules. Below 0.05, the rule fails.
        more_images: About how many more images would decide, if the estimate stays; None if the
            rule is decided, or if no number would, because the estimate equals the limit.
    """

    rule: Rule
    verdict: str
    images: int
    new: float
    old: float
    value: float
    low: float
    high: float
    p: float
    p_holm: float
    more_images: int | None


@dataclass(frozen=True)
class Gate:
    """The verdicts on a new model.

    Attributes:
        model: Name of the new model.
        against: Name of the old model; None if all rules are about one model.
        results: The rules with their verdicts.
    """

    model: str
    against: str | None
    results: Sequence[Result]

    @property
    def verdict(self) -> str:
        """`fail` if any rule fails, otherwise `undecided` if any is, otherwise `pass`."""
        found = {result.verdict for result in self.results}
        return next((one for one in (FAIL, UNDECIDED) if one in found), PASS)


def judge(tests: Sequence[LimitTest]) -> list[Result]:
    """Return the verdicts of all rules of a gate."""
    corrected = holm([test.difference.p if test.beyond else 1.0 for test in tests])
    results = []
    for test, p_holm in zip(tests, corrected, strict=True):
        value, low, high, p = test.difference
        verdict = UNDECIDED
        if test.beyond and p_holm < LEVEL:
            verdict = FAIL
        elif not test.beyond and p < LEVEL:
            verdict = PASS
        more = _more_images(test, len(tests)) if verdict == UNDECIDED else None
        numbers = (test.images, test.new, test.old, value, low, high, p, float(p_holm))
        results.append(Result(test.rule, verdict, *numbers, more))
    return results


def _more_images(test: LimitTest, rules: int) -> int | None:
    """Return about how many more images would decide a rule.

    The width of an interval shrinks with the square root of the number of images.
    """
    value, low, high, _ = test.difference
    distance = abs(value - test.rule.limit)
    if distance < EQUAL:
        return None
    half = high - value if value < test.rule.limit else value - low
    if test.beyond:  # Holm's correction of the smallest of several p-values
        half *= NORMAL.inv_cdf(1 - LEVEL / 2 / rules) / Z
    return max(1, ceil(test.images * ((half / distance) ** 2 - 1)))


def decide(rules: Sequence[Rule], new: Sample, old: Sample | None = None) -> list[Result]:
    """Return the verdict of each rule.

    Args:
        rules: the rules.
        new: outcomes of the new model.
        old: outcomes of the old model on the same images, perhaps of fewer kinds of data sets;
            None if all rules are about one model.

    Raises:
        UnknownName: there is no such metric.
        UsageError: the models lack a metric or some of its cells.
    """
    samples = [new]
    if old is not None:
        shared = {kind: part for kind, part in new.outcomes.items() if kind in old.outcomes}
        samples = [Sample(shared), old]
    for rule in rules:
        _check_metric(rule, samples if rule.how.paired else [new])
    paired = _paired_tests([rule for rule in rules if rule.how.paired], samples)
    single = {rule: _single_test(rule, new) for rule in rules if not rule.how.paired}
    return judge([(paired | single)[rule] for rule in rules])


def _check_metric(rule: Rule, samples: Sequence[Sample]) -> None:
    found = [aggregates(sample.means, {}) for sample in samples]
    known = [metric for metric in found[0] if all(metric in values for values in found)]
    if rule.metric not in known:
        metric = find_metric(rule.metric)
        if metric is not None and metric.normalised:
            raise UsageError(
                f"{rule.metric} is relative to a baseline; limit one of {', '.join(known)}"
            )
        if rule.metric in ("ece", "ece_subset"):
            raise UsageError(
                f"{rule.metric} has no interval, so no test can limit it; limit one of "
                f"{', '.join(known)}"
            )
        near = rule.metric not in METRICS and near_matches(rule.metric, known)
        if near or metric is None:
            raise UnknownName("metric", rule.metric, known)
        raise UsageError(f"the run has no {rule.metric}; its metrics are {', '.join(known)}")
    if any(isnan(float(values[rule.metric])) for values in found):
        raise UsageError(
            f"{rule.metric} is not complete; evaluate the missing cells, which missing.csv of the "
            "report lists"
        )


def _paired_tests(rules: Sequence[Rule], samples: Sequence[Sample]) -> dict[Rule, LimitTest]:
    if not rules:
        return {}
    ours, theirs = (values_by_image(sample) for sample in samples)
    differences = {
        rule: rule.how.sign * (ours[rule.metric] - theirs[rule.metric])
        for rule in rules
        if rule.metric in ours and rule.metric in theirs
    }
    resampled = resampled_columns(differences)
    whole = [aggregates(sample.means, {}) for sample in samples]
    tests = {}
    for rule in rules:
        new, old = (float(values[rule.metric]) for values in whole)
        if rule in differences:
            images = len(differences[rule])
            found = paired_difference(differences[rule], resampled[rule], margin=rule.limit)
        else:
            images = _images(samples[0])
            one, two = (aggregates(sample.resampled, {})[rule.metric] for sample in samples)
            found = _bootstrap(rule, rule.how.sign * (new - old), rule.how.sign * (one - two))
        tests[rule] = LimitTest(rule, images, new, old, found)
    return tests


def _single_test(rule: Rule, sample: Sample) -> LimitTest:
    value, nothing = float(aggregates(sample.means, {})[rule.metric]), float("nan")
    by_image = values_by_image(sample).get(rule.metric)
    if by_image is None:
        found = _bootstrap(rule, value, aggregates(sample.resampled, {})[rule.metric])
        return LimitTest(rule, _images(sample), value, nothing, found)
    ends = (float(aggregates(means, {})[rule.metric]) for means in (sample.worst, sample.best))
    smallest, largest = sorted(ends)
    found = mean_and_p(by_image, rule.limit, largest, smallest)
    return LimitTest(rule, len(by_image), value, nothing, found)


def _bootstrap(rule: Rule, value: float, resampled: np.ndarray) -> Difference:
    """Test a quantity that is not a mean over images, from its resampled values."""
    low, high, p = interval_and_p(resampled - rule.limit)
    return Difference(value, low + rule.limit, high + rule.limit, p)


def _images(sample: Sample) -> int:
    """Return the largest number of images of a data set."""
    return max(part.images for part in sample.outcomes.values())
