"""The verdicts of a gate for a terminal, a pull request (Markdown) and other programs."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import isnan

import pandas as pd

from robustbench_aa.errors import one_line
from robustbench_aa.gate import FAIL, PASS, UNDECIDED
from robustbench_aa.metrics.bootstrap import LEVEL
from robustbench_aa.metrics.gate import Gate, Result
from robustbench_aa.report.terminal import Listing, render_table

MARKS = {PASS: "✅", FAIL: "❌", UNDECIDED: "❔"}
"""The mark of each verdict in Markdown."""


def gate_table(gate: Gate) -> Listing:
    """Return the verdicts as a table for a terminal."""
    title = f"{gate.model} against {gate.against}" if gate.against else gate.model
    return render_table(pd.DataFrame(_rows(gate)), title, ("rule",), ("verdict",))


def _rows(gate: Gate) -> list[dict[str, object]]:
    rows = []
    for result in gate.results:
        values = {"new": result.new, "old": result.old, "value": result.value}
        interval = f"{result.low:.4f} to {result.high:.4f}"
        row: dict[str, object] = {"rule": str(result.rule), "verdict": result.verdict, **values}
        rows.append(row | {"interval": interval, "p": result.p, "p_holm": result.p_holm})
    return rows


def explain(result: Result) -> str:
    """Return the reason of a verdict, in a sentence."""
    quantity = result.rule.how.text.format(result.rule.metric)
    where = f"{quantity} is {result.value:.4f} (95% interval {result.low:.4f} to {result.high:.4f})"
    upper, limit = result.rule.how.upper, f"{result.rule.limit:g}"
    if result.verdict != UNDECIDED:
        side = "below" if upper == (result.verdict == PASS) else "above"
        return f"{result.verdict}: {where}, {side} the limit of {limit}"
    if result.more_images is None:
        advice = "more images would not help, since the estimate equals the limit"
    else:
        advice = f"about {round_up(result.more_images):,} more images would decide"
    return f"undecided: {where} does not exclude the limit of {limit}; {advice}"


def round_up(number: int) -> int:
    """Return a number rounded up to two significant digits.

    >>> round_up(1234), round_up(7)
    (1300, 7)
    """
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit


def summary(gate: Gate) -> str:
    """Return the verdict of the whole gate, in a sentence."""
    counts = ", ".join(
        f"{count} {verdict}"
        for verdict in (PASS, FAIL, UNDECIDED)
        if (count := sum(result.verdict == verdict for result in gate.results))
    )
    return f"gate: {gate.verdict} ({counts})"


def to_markdown(gate: Gate) -> str:
    """Return the verdicts as a Markdown table, for a comment on a pull request."""
    against = f" against {_code(gate.against)}" if gate.against else ""
    lines = [
        f"### {MARKS[gate.verdict]} Robustness gate: {gate.verdict}",
        "",
        f"{_code(gate.model)}{against}",
        "",
        "| | rule | new | old | value | 95% interval | images |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in gate.results:
        verdict = f"{MARKS[result.verdict]} {result.verdict}"
        old = "" if isnan(result.old) else f"{result.old:.4f}"
        lines.append(
            f"| {verdict} | {result.rule} | {result.new:.4f} | {old} "
            f"| {result.value:.4f} | {result.low:.4f} to {result.high:.4f} | {result.images:,} |"
        )
    undecided = [explain(one) for one in gate.results if one.verdict == UNDECIDED]
    return "\n".join([*lines, *(f"\n{text}." for text in undecided), ""])


def _code(name: str) -> str:
    """Return a name in Markdown as it is; fences are longer than any run of backticks in it."""
    fence = "`"
    while fence in name:
        fence += "`"
    space = " " if "`" in name else ""
    return f"{fence}{space}{one_line(name)}{space}{fence}"


def to_junit(gate: Gate, allow_undecided: bool = False) -> str:
    """Return the verdicts as JUnit XML, a test case for each rule.

    Args:
        gate: the verdicts.
        allow_undecided: whether undecided rules count as skipped instead of failed.
    """
    failing = {FAIL} if allow_undecided else {FAIL, UNDECIDED}
    verdicts = [result.verdict for result in gate.results]
    failed = sum(verdict in failing for verdict in verdicts)
    skipped = verdicts.count(UNDECIDED) if allow_undecided else 0
    counts = {"tests": len(verdicts), "failures": failed, "errors": 0, "skipped": skipped}
    attributes = {name: str(count) for name, count in counts.items()}
    suite = ET.Element("testsuite", {"name": "robustbench-aa gate", **attributes})
    for result in gate.results:
        case = ET.SubElement(suite, "testcase", classname=gate.model, name=str(result.rule))
        if result.verdict != PASS:
            tag = "failure" if result.verdict in failing else "skipped"
            ET.SubElement(case, tag, message=explain(result))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"
    )


def to_json(gate: Gate) -> str:
    """Return the verdicts as JSON; values that do not exist are null."""
    rules = []
    for result in gate.results:
        row = asdict(result.rule)
        row |= {key: value for key, value in asdict(result).items() if key != "rule"}
        row = {key: None if value != value else value for key, value in row.items()}
        rules.append(row | {"reason": explain(result)})
    whole = {"verdict": gate.verdict, "model": gate.model, "against": gate.against}
    return json.dumps(whole | {"level": LEVEL, "rules": rules}, indent=1, ensure_ascii=False) + "\n"


FORMATS: Mapping[str, Callable[[Gate, bool], str]] = {
    ".md": lambda gate, _: to_markdown(gate),
    ".xml": to_junit,
    ".json": lambda gate, _: to_json(gate),
}
"""Functions (gate, allow_undecided) → text of a file, by its suffix."""
