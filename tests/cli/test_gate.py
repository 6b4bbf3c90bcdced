from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import robustbench_aa as rb
from robustbench_aa.cli.main import commands
from robustbench_aa.errors import SuiteError, UnknownName, UsageError
from tests.conftest import make_classifier

LABELS = [place % 10 for place in range(60)]


def images(seed: int = 0) -> rb.ImageArrays:
    """Noise, whose labels no model can know: all models have an error of about 90%."""
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    return rb.ImageArrays(pixels, LABELS, "noise")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gate") / "run"
    rb.benchmark([make_classifier("old"), make_classifier("new", 1)], [images()], folder)
    return folder


def gate(*arguments: object) -> tuple[int, str]:
    """Return the exit status and the output of the command."""
    words = ["gate", *map(str, arguments)]
    result = CliRunner().invoke(commands, words, catch_exceptions=False, standalone_mode=False)
    return result.return_value, result.output


def test_a_rule_decides_the_exit_status(run: Path) -> None:
    new = (run, "-m", "new")
    assert gate(*new, "--max", "clean_error=0.999")[0] == 0
    status, output = gate(*new, "--max", "clean_error=0.2")
    assert status == 1
    assert "gate: fail (1 fail)" in output
    rule = ("-a", "old", "--max-rise", "clean_error=0.01")
    status, output = gate(*new, *rule)
    assert status == 1
    assert "more images would decide" in output
    assert gate(*new, *rule, "--allow-undecided")[0] == 0


def test_the_verdicts_are_written(run: Path, tmp_path: Path) -> None:
    files = [tmp_path / "new" / f"gate.{suffix}" for suffix in ("md", "xml", "json")]
    outputs = [word for file in files for word in ("-o", file)]
    assert gate(run, "-m", "new", "--max", "clean_error=0.2", *outputs)[0] == 1
    assert files[0].read_text().startswith("### ❌ Robustness gate: fail")
    assert "<failure" in files[1].read_text()
    written = json.loads(files[2].read_text())
    found = rb.Run(run).gate("new", max={"clean_error": 0.2})
    assert written["rules"][0]["value"] == found.results[0].value
    with pytest.raises(UnknownName, match=r"unknown format of gate.txt '.txt'; did you mean .xml"):
        gate(run, "-m", "new", "--max", "clean_error=0.2", "-o", "gate.txt")


def test_rules_of_a_suite_are_replaced_by_options(run: Path, tmp_path: Path) -> None:
    suite = tmp_path / "mine.toml"
    suite.write_text('models = ["a"]\ndatasets = ["b"]\n\n[gate]\nmax = {clean_error = 0.2}\n')
    assert gate(run, "-m", "new", "--suite", suite)[0] == 1
    assert gate(run, "-m", "new", "--suite", suite, "--max", "clean_error=0.999")[0] == 0
    suite.write_text('models = ["a"]\ndatasets = ["b"]\n\n[gate]\nmaxx = {clean_error = 0.2}\n')
    with pytest.raises(SuiteError, match=r"line 4: gate: unknown kind of rule 'maxx'"):
        gate(run, "-m", "new", "--suite", suite)
    suite.write_text('models = ["a"]\ndatasets = ["b"]\n')
    with pytest.raises(UsageError, match=r"has no table \[gate\]"):
        gate(run, "-m", "new", "--suite", suite)


def test_two_runs_on_the_same_data_are_one(run: Path, tmp_path: Path) -> None:
    rb.benchmark([make_classifier("before")], [images()], tmp_path / "old")
    rule = ("--max-rise", "clean_error=0.01")
    arguments = ("-m", "new", "-a", "before", *rule)
    assert (
        gate(run, tmp_path / "old", *arguments)[1].splitlines()[-1]
        == (gate(run, "-m", "new", "-a", "old", *rule)[1].splitlines()[-1])
    )
    rb.benchmark([make_classifier("before")], [images(seed=1)], tmp_path / "other")
    with pytest.raises(UsageError, match="holds predictions of noise with another sha256"):
        gate(run, tmp_path / "other", *arguments)
    rb.benchmark([make_classifier("before")], [images()], tmp_path / "seed", seed=7)
    with pytest.raises(UsageError, match="made with seed 7, not 0; evaluate both models on the"):
        gate(run, tmp_path / "seed", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "new"), "a gate without rules decides nothing"),
        (("-m", "newer", "--max", "clean_error=0.1"), "did you mean new"),
        (("-m", "new", "--max-rise", "clean_error=0.1"), "--against needs an old model"),
        (("-m", "new", "-a", "old", "--max", "clean_error=0.1"), "--against has no effect"),
        (("-m", "new", "--max", "clean_eror=0.1"), "did you mean clean_error"),
        (("-m", "new", "--max", "clean_error=10"), "write 0.01 for one percentage point"),
        (("-m", "new", *("--max", "clean_error=0.1") * 2), "given twice"),
        (("x", "y", "-m", "new", "--max", "clean_error=0.1"), "3 runs are given"),
    ],
)
def test_wrong_usage_is_refused(run: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        gate(run, *arguments)
