from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

from robustbench_aa.gate import FAIL, PASS, UNDECIDED, Rule
from robustbench_aa.metrics.gate import Gate, Result
from robustbench_aa.report.gate import explain, summary, to_json, to_junit, to_markdown

NOTHING = float("nan")
GOOD = Result(
    Rule("max_rise", "mean_error", 0.01), PASS, 500, 0.2, 0.21, -0.01, -0.02, 0.0, 0.001, 1.0, None
)
BAD = Result(
    Rule("min", "consistency_crops", 0.9),
    *(FAIL, 500, 0.8, NOTHING, 0.8, 0.75, 0.85, 0.001, 0.002, None),
)
OPEN = Result(
    Rule("max", "clean_error", 0.1), UNDECIDED, 500, 0.11, NOTHING, 0.11, 0.09, 0.13, 0.4, 0.4, 1234
)
GATE = Gate("new <&> `model`", "old", [GOOD, BAD, OPEN])


def test_a_reason_names_the_interval_and_the_limit() -> None:
    assert explain(GOOD) == (
        "pass: rise of mean_error is -0.0100 (95% interval -0.0200 to 0.0000), below the limit of "
        "0.01"
    )
    assert explain(BAD).endswith("(95% interval 0.7500 to 0.8500), below the limit of 0.9")
    assert explain(OPEN).endswith(
        "does not exclude the limit of 0.1; about 1,300 more images would decide"
    )
    assert "more images would not help" in explain(replace(OPEN, more_images=None))
    assert summary(GATE) == "gate: fail (1 pass, 1 fail, 1 undecided)"


def test_markdown_has_a_row_for_each_rule() -> None:
    lines = to_markdown(GATE).splitlines()
    assert lines[0] == "### ❌ Robustness gate: fail"
    assert lines[2] == "`` new <&> `model` `` against `old`"
    rows = [line for line in lines if line.startswith(("| ✅", "| ❌", "| ❔"))]
    assert rows[0] == (
        "| ✅ pass | rise of mean_error at most 0.01 | 0.2000 | 0.2100 | -0.0100 "
        "| -0.0200 to 0.0000 | 500 |"
    )
    assert len(rows) == 3
    assert lines[-1].endswith("about 1,300 more images would decide.")


def test_junit_counts_undecided_rules_as_the_exit_status_does() -> None:
    suite = ET.fromstring(to_junit(GATE).partition("\n")[2])
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "2", "0")
    assert [len(case.findall("failure")) for case in suite] == [0, 1, 1]
    assert suite[0].get("classname") == "new <&> `model`"
    allowed = ET.fromstring(to_junit(GATE, allow_undecided=True).partition("\n")[2])
    assert (allowed.get("failures"), allowed.get("skipped")) == ("1", "1")
    assert allowed[2].find("skipped") is not None


def test_json_has_null_for_values_that_do_not_exist() -> None:
    content = json.loads(to_json(GATE), parse_constant=lambda name: 1 / 0)
    assert (content["verdict"], content["model"], content["against"]) == ("fail", GATE.model, "old")
    assert [rule["verdict"] for rule in content["rules"]] == [PASS, FAIL, UNDECIDED]
    assert content["rules"][1]["old"] is None
    assert content["rules"][0]["limit"] == 0.01
