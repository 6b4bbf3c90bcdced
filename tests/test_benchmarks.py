"""Benchmarks need no more than the project itself: peers and other photographs are extras."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks.photographs import originals
from benchmarks.reliability import coverage
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
