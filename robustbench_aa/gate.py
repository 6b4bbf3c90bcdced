"""The rules of a gate, which decides whether a new model is robust enough to replace another one.

`metrics/gate.py` decides whether a run meets them. This module needs neither numpy nor torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from robustbench_aa.errors import UnknownName, UsageError

PASS, FAIL, UNDECIDED = "pass", "fail", "undecided"
"""The verdicts: the images show that a rule is met, that it is broken, or neither."""


class Kind(NamedTuple):
    """A kind of rule.

    Attributes:
        paired: whether the rule limits the difference from another model instead of the value.
        sign: 1 if the difference is new − old, −1 if it is old − new.
        upper: whether the limit is the largest allowed value instead of the smallest.
        text: description of the limited quantity, with the metric in its place.
    """

    paired: bool
    sign: int
    upper: bool
    text: str


KINDS: Mapping[str, Kind] = {
    "max_rise": Kind(paired=True, sign=1, upper=True, text="rise of {}"),
    "max_fall": Kind(paired=True, sign=-1, upper=True, text="fall of {}"),
    "min": Kind(paired=False, sign=1, upper=False, text="{}"),
    "max": Kind(paired=False, sign=1, upper=True, text="{}"),
}
"""The kinds of rules by the name of their option, their TOML key and their argument in Python."""
Limits = Mapping[str, Mapping[str, float]]
"""Limits by kind of rule and by metric, such as `{"max_rise": {"mean_error": 0.01}}`."""


@dataclass(frozen=True)
class Rule:
    """A limit on a metric of the new model, or on its difference from the old model's.

    Attributes:
        kind: one of `KINDS`.
        metric: column of the leaderboard, such as `mean_error` or `consistency_crops`.
        limit: the limit, a fraction: 0.01 is one percentage point.

    Raises:
        UnknownName: there is no such kind of rule.
        UsageError: the limit is not a fraction.
    """

    kind: str
    metric: str
    limit: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownName("kind of rule", self.kind, KINDS)
        if isinstance(self.limit, bool) or not isinstance(self.limit, int | float):
            raise UsageError(f"{self.kind} of {self.metric} must be a number, not {self.limit!r}")
        if not math.isfinite(self.limit) or abs(self.limit) > 1:
            raise UsageError(
                f"{self.kind} of {self.metric} is {self.limit:g}, which is no fraction; "
                "write 0.01 for one percentage point"
            )

    @property
    def how(self) -> Kind:
        """The kind of the rule."""
        return KINDS[self.kind]

    def __str__(self) -> str:
        bound = "at most" if self.how.upper else "at least"
        return f"{self.how.text.format(self.metric)} {bound} {self.limit:g}"


def read_rules(limits: Any) -> list[Rule]:
    """Return the rules of a table of limits.

    >>> [str(rule) for rule in read_rules({"max_rise": {"mean_error": 0.01}})]
    ['rise of mean_error at most 0.01']

    Args:
        limits: limits by kind of rule and by metric, as in `Limits`.

    Raises:
        UsageError: it is no such table, or a limit is not a fraction.
    """
    if not isinstance(limits, Mapping):
        raise UsageError(f"the rules of a gate must be a table, not {limits!r}")
    rules = []
    for kind, by_metric in limits.items():
        if kind not in KINDS:
            raise UnknownName("kind of rule", kind, KINDS)
        if not isinstance(by_metric, Mapping):
            raise UsageError(f"{kind} must be a table such as {{mean_error = 0.01}}")
        rules += [Rule(kind, str(metric), limit) for metric, limit in by_metric.items()]
    return rules


def read_limit(text: str) -> tuple[str, float]:
    """Return the metric and the limit of a text METRIC=X.

    Raises:
        UsageError: the text has another form.
    """
    metric, equals, limit = text.partition("=")
    try:
        if metric and equals:
            return metric.strip(), float(limit)
    except ValueError:
        pass
    raise UsageError(f"{text!r} is no rule; write METRIC=X, such as mean_error=0.01")
