"""The pytest plugin, in tests of its own."""

from __future__ import annotations

from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest

pytest_plugins = "pytester"

CONFTEST = "from robustbench_aa.pytest_plugin import assert_no_regression, robustbench_run"
TESTS = """
import numpy as np
import pytest
import robustbench_aa as rb

from tests.conftest import make_classifier


@pytest.fixture(scope="session")
def run(robustbench_run):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    images = rb.ImageArrays(pixels, [place % 10 for place in range(60)], "noise")
    return robustbench_run([make_classifier("old"), make_classifier("new", 1)], [images])


def test_good(run, assert_no_regression):
    assert_no_regression(run, "new", "old", max_rise={"clean_error": 0.5})


def test_bad(run, assert_no_regression):
    assert_no_regression(run.directory, "new", max={"clean_error": 0.2})


def test_open(run, assert_no_regression):
    assert_no_regression(run, "new", "old", max_rise={"clean_error": 0.01})


def test_allowed(run, assert_no_regression):
    assert_no_regression(run, "new", "old", allow_undecided=True, max_rise={"clean_error": 0.01})
"""


def test_a_regression_fails_a_test(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "gate: fail (1 fail)",
            "fail: clean_error is *above the limit of 0.2",
            "gate: undecided (1 undecided)",
            "*more images would decide",
        ]
    )


def test_the_plugin_is_registered_under_the_name_of_its_module() -> None:
    # with another name, -p and the entry point would register it twice
    config = ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg")
    name, _, module = config["options.entry_points"]["pytest11"].strip().partition(" = ")
    assert name == module == "robustbench_aa.pytest_plugin"
    import_module(module)
