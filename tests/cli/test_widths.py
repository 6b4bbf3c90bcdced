"""What commands print fits the width of the terminal, and no metric is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from robustbench_aa.cli import doctor, options
from robustbench_aa.cli.main import commands
from robustbench_aa.metrics.comparison import COLUMNS
from robustbench_aa.report.columns import value_columns
from tests.forged import forge

every_width = pytest.mark.parametrize("width", [80, 120, 200])
FOLDER = "/data/checkpoints/of-a-long-experiment/with-many-parameters/resnet50-blur"
NAMES = [f"{FOLDER}/epoch-{place}.pth" for place in range(2)]


def output(width: int, *arguments: str) -> str:
    """Run a command as if on a terminal of a width; return what it prints.

    The lines are checked to fit.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "UNBROKEN", width)
        result = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert not [line for line in result.stdout.splitlines() if len(line) > width]
    return result.stdout


def words(text: str) -> set[str]:
    return set(re.split(r"[\s,:;]+", text))


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of two models with names that no column has room for."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return forge(folder, NAMES, ["image-folder", "imagenet-shift"], images=2)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return a command that evaluates nothing any more, since all predictions are there."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    models = [f"{name}=digits:resnet@lpf2-seed{seed}" for seed, name in enumerate(NAMES)]
    command = ["evaluate", *(word for model in models for word in ("-m", model))]
    command += ["-d", "digits-c", "--corruption", "fog", "--limit", "2"]
    command += ["--output-dir", str(folder)]
    output(200, *command)
    return command


def test_a_report_shows_every_metric_at_80_columns(
    forged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(forged.parent)
    text = output(80, "report", "run", "--baseline", NAMES[0])
    board = pd.read_csv("run/report/leaderboard.csv")
    assert {"clean_error", "consistency_crops"} < {*board}
    assert {*value_columns(board)} <= words(text)
    assert "run/report/leaderboard.csv" in text
    assert all(name in "".join(text.split()) for name in NAMES)


@every_width
def test_a_comparison_shows_every_column(width: int, forged: Path) -> None:
    text = output(width, "compare", str(forged), *NAMES)
    assert {*COLUMNS, "clean_error", "consistency_crops"} <= words(text)


def test_evaluate_prints_a_summary_and_each_severity_on_request(evaluated: list[str]) -> None:
    text = output(80, *evaluated)
    assert "top-1 error on digits-c, mean over severities\n" in text
    assert re.search(r"^fog( +[01]\.\d{4}){2} *$", text, re.MULTILINE)
    assert {"mean_error_subset", "ece_subset", "corruptions.csv", "leaderboard.csv"} <= words(text)
    assert "severity 5" not in text
    assert "severity 5" in output(80, *evaluated, "--by-severity")


@every_width
def test_the_lists_fit(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = output(width, "datasets")
    assert {"digits-c", "imagenet-c-live", "CIFAR100_C_DIR"} <= words(text)
    output(width, "models")
    facts = {"versions": {"python": lambda: "3 " * 150, "folder": lambda: "/folder" * 40}}
    monkeypatch.setattr(doctor, "SECTIONS", facts)
    monkeypatch.setattr(doctor, "_devices", list)
    assert words(output(width, "doctor")) > {"versions", "python", "folder"}


def test_without_a_terminal_no_line_is_broken(forged: Path) -> None:
    command = ["compare", str(forged), *NAMES]
    text = CliRunner().invoke(commands, command, env={"COLUMNS": "80"}).stdout
    (row,) = [line for line in text.splitlines() if line.startswith("clean_error ")]
    assert len(row.split()) == len(COLUMNS) - 1  # it has no distortion
    assert f"a: {NAMES[0]}, b: {NAMES[1]}" in text.splitlines()
