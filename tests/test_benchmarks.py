"""Benchmarks run without the packages of the `peers` extra, and documents quote their results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
OPTIONAL = ("antialiased_cnns", "kornia.filters", "sklearn.datasets", "timm.layers")


@pytest.fixture
def without_extras(tmp_path: Path) -> dict[str, str]:
    """The environment variables of a process that cannot import optional packages."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({OPTIONAL!r}))\n"
    )
    paths = (str(tmp_path), str(ROOT))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def run(module: str, *options: str, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_layers_are_measured_without_peers(tmp_path: Path, without_extras: dict[str, str]) -> None:
    output = tmp_path / "cost.csv"
    options = ("--device=cpu", "--batch=1", "--repetitions=1", "--layers-only")
    run("speed.antialias_cost", *options, f"--output={output}", environment=without_extras)
    table = pd.read_csv(output)
    assert len(table) == len(table.drop_duplicates(list(table.columns[:4]))) > 100
    assert (table["ours_ms"] > 0).all()
    assert table["reference_ms"].isna().all()
    assert (table["device"] == "cpu").all()


def test_there_are_photographs_without_scikit_learn(
    tmp_path: Path, without_extras: dict[str, str]
) -> None:
    output = tmp_path / "cost.csv"
    options = ("--images=3", "--rounds=1", f"--output={output}")
    run("speed.digest_cost", *options, environment=without_extras)
    table = pd.read_csv(output)
    assert table["digests"].tolist() == [True, False]
    assert (table["seconds"] > 0).all()


def test_the_documents_have_the_coverages_that_were_simulated() -> None:
    found = pd.read_csv(ROOT / "results" / "reliability" / "coverage.csv")
    simulated = {
        (
            row[1],  # the name of the case
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
    start = next(place for place, line in enumerate(lines) if "| truth |" in line)
    documented = set()
    for line in lines[start + 2 :]:
        if not line:
            break
        documented.add(tuple(cell.strip() for cell in line.strip("|").split("|")))
    assert len(documented) > 30
    assert documented <= simulated
