"""Benchmarks need no more than the project itself: peers and other photographs are extras."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks.photographs import originals
from benchmarks.reliability import coverage
from benchmarks.reliability.sandbox import Sandbox
from benchmarks.speed import antialias_cost


def test_there_are_photographs_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = originals()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    for photographs in (usual, originals()):
        assert len(photographs) == 3
        for picture in photographs:
            height, width, channels = picture.shape
            assert (height >= 300, width >= 400, channels) == (True, True, 3)
            assert picture.dtype == "uint8"


def test_layers_are_measured_without_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in antialias_cost.PEERS:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(antialias_cost, "SHAPES", ((8, 14),))
    output = tmp_path / "cost.csv"
    options = ["--device=cpu", "--batch=1", "--repetitions=1", "--layers-only"]
    result = CliRunner().invoke(
        antialias_cost.main, [*options, f"--output={output}"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    table = pd.read_csv(output)
    assert len(table) == 4 * len(antialias_cost.FILTER_SIZES) * len(antialias_cost.PADDINGS)
    assert (table["ours_ms"] > 0).all()
    assert table["reference_ms"].isna().all()
    assert (table["device"] == "cpu").all()


ROOT = Path(__file__).parents[1]


def test_the_documents_have_the_coverages_that_were_simulated() -> None:
    found = pd.read_csv(ROOT / coverage.OUTPUT)
    written = {
        (
            row.what,
            "" if pd.isna(row.truth) else f"{row.truth:.3g}",
            str(row.n),
            f"{100 * row.coverage:.1f}%",
            f"{100 * row.bootstrap_coverage:.1f}%",
            *(
                f"{width:.{3 if width < 10 else 1}f}"
                for width in (row.mean_width, row.bootstrap_mean_width)
            ),
        )
        for row in found.itertuples()
    }
    lines = (ROOT / "docs" / "metrics.md").read_text().splitlines()
    start = lines.index(next(line for line in lines if line.startswith("| what | truth |")))
    told = []
    for line in lines[start + 2 :]:
        if not line:
            break
        told.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    assert len(told) > 30
    assert set(told) <= written


def test_faults_are_survived(tmp_path: Path) -> None:
    """A few times each, in a process that has never used torch, so that it can fork."""
    faults = (
        "it is terminated (SIGTERM)",
        "report is killed at each rename",
        "a model raises SystemExit(0)",
        "prediction files are truncated",
        "arrays are exchanged, with the same times",
        "EIO at each call of a finished run",
    )
    only = [word for fault in faults for word in ("--only", fault)]
    output = tmp_path / "faults.csv"
    module = "benchmarks.reliability.faults"
    command = [sys.executable, "-m", module, "--quick", "--output", str(output), *only]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(output)
    assert sorted(table["fault"]) == sorted(faults)
    assert (table["times"] >= 1).all()


def test_a_table_that_differs_ends_the_faults(tmp_path: Path) -> None:
    made = Sandbox(tmp_path, expected={"suite": {"a.csv": b"1", "b.csv": b"2"}})
    report = tmp_path / "run" / "report"
    report.mkdir(parents=True)
    for name, content in (("a.csv", "1"), ("b.csv", "2"), ("provenance.csv", "any")):
        (report / name).write_text(content)
    made.check_tables(tmp_path / "run")
    (report / "b.csv").write_text("3")
    with pytest.raises(click.ClickException, match=r"run: b\.csv differ"):
        made.check_tables(tmp_path / "run")


def test_each_call_on_files_of_a_directory_can_fail(tmp_path: Path) -> None:
    """The nth call fails with the error, and calls elsewhere are not counted."""
    code = """
import os, sys
from pathlib import Path
from benchmarks.reliability.file_errors import fail_at
place, told = Path(sys.argv[1]), []
fail_at(place, sys.argv[2], int(sys.argv[3]), told.append)
Path(sys.argv[1] + "-beside").write_text("never fails")
try:
    (place / "a").write_text("text")
    (place / "a").rename(place / "b")
    (place / "b").read_text()
    print("nothing")
except OSError as error:
    print(error.strerror, told[0].partition(" ")[0])
"""
    seen = []
    for error in ("EIO", "EMFILE", "ENOSPC"):
        for nth in range(10):
            place = tmp_path / f"{error}{nth}"
            place.mkdir()
            command = [sys.executable, "-c", code, str(place), error, str(nth)]
            found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            seen.append(found.stdout.strip())
            if seen[-1] == "nothing":
                break
    assert [line.removeprefix("Input/output error ") for line in seen[:5]] == [
        *("create", "write", "rename", "open", "read")
    ]
    rest = [line for line in seen if not line.startswith("Input/output")]
    assert rest == [
        *("nothing", "Too many open files create", "Too many open files open", "nothing"),
        *(f"No space left on device {call}" for call in ("create", "write", "rename")),
        "nothing",
    ]
