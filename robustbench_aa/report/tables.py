"""All tables of a run; each is written as the CSV file of its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import pandas as pd

from robustbench_aa.metrics.outcomes import read_models
from robustbench_aa.report import cells
from robustbench_aa.report.leaderboard import Board
from robustbench_aa.report.provenance import missing, mixtures, provenance, read_origins
from robustbench_aa.store import Store


@dataclass(frozen=True)
class Tables:
    """The tables of a run.

    Attributes:
        leaderboard: a row a model, the best first; figures are means over its training seeds, and
            `<figure>_std` is their standard deviation.
        intervals: a row a model and figure, with its 95% bootstrap interval over images.
        normalised: a row a model, baseline, figure and distortion, with its interval.
        seeds: a row a network of the models that have several training seeds.
        corruptions: a row a model and corruption × severity.
        perturbations: a row a model and perturbation.
        consistency: a row a model and shift protocol.
        diagonal: a row a model and offset along the diagonal.
        calibration: a row a model and severity; 0: clean images.
        provenance: a row a thing that figures come from; several where predictions differ in it.
        missing: a row a network and distortion that counts and lacks predictions.
        warnings: what may not be compared although the leaderboard shows it, a sentence each.
    """

    leaderboard: pd.DataFrame
    intervals: pd.DataFrame
    normalised: pd.DataFrame
    seeds: pd.DataFrame
    corruptions: pd.DataFrame
    perturbations: pd.DataFrame
    consistency: pd.DataFrame
    diagonal: pd.DataFrame
    calibration: pd.DataFrame
    provenance: pd.DataFrame = field(default_factory=pd.DataFrame)
    missing: pd.DataFrame = field(default_factory=pd.DataFrame)
    warnings: Sequence[str] = ()

    def write(self, folder: Path) -> list[Path]:
        """Writes the tables that have rows; what an earlier report left of the others goes."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        tables = {of.name: getattr(self, of.name) for of in fields(self) if of.name != "warnings"}
        for name, table in tables.items():
            path = folder / f"{name}.csv"
            path.unlink(missing_ok=True)
            if not table.empty:
                table.to_csv(path, index=False, float_format="%.6f", lineterminator="\n")
                written.append(path)
        return written


def make_tables(store: Store, baseline: str | None = None) -> Tables:
    """Computes all tables of a run from its predictions.

    Args:
        baseline: a model of the run for the normalised figures; None means the run's own choice.

    Raises:
        UnknownName: the run has no such model.
    """
    models = read_models(store)
    board = Board(models, store.kinds(), baseline or store.manifest.baseline)
    of, kinds = models.values(), store.kinds()
    origins = read_origins(store)
    return Tables(
        leaderboard=board.leaderboard(),
        intervals=board.intervals(),
        normalised=board.normalised(),
        seeds=board.seeds(),
        corruptions=cells.corruptions(of, kinds.get("corruption")),
        perturbations=cells.perturbations(of, kinds.get("perturbation")),
        consistency=cells.consistency(of, kinds.get("shift")),
        diagonal=cells.diagonal(of, kinds.get("shift")),
        calibration=cells.calibration(of, kinds.get("corruption")),
        provenance=provenance(store, origins),
        missing=missing(store, of),
        warnings=mixtures(origins),
    )
