"""All tables of a run; each is written as the CSV file of its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import pandas as pd

from robustbench_aa.metrics.per_image import Model
from robustbench_aa.report import cell_tables
from robustbench_aa.report.leaderboard import Board
from robustbench_aa.report.literature import with_published as beside_published
from robustbench_aa.report.provenance import (
    check_sources,
    missing,
    mixtures,
    other_frames,
    partial_classes,
    provenance,
    read_origins,
)
from robustbench_aa.report.rounding import in_full
from robustbench_aa.store.shards import Store


@dataclass(frozen=True)
class Tables:
    """The tables of a run.

    Attributes:
        leaderboard: a row a model, the best first; figures are means over its training seeds, and
            `<figure>_std` is their standard deviation. Published rows, if asked for, follow, with
            their `source`.
        intervals: a row a model and figure, with its 95% interval over images.
        normalised: a row a model, baseline, figure and distortion, with its interval.
        relative: a row a model, baseline and normalised aggregate, for every baseline of the run
            and the published ones.
        seeds: a row a network of the models that have several training seeds.
        corruptions: a row a model and corruption × severity.
        perturbations: a row a model and perturbation.
        consistency: a row a model and shift protocol.
        diagonal: a row a model and offset along the diagonal.
        calibration: a row a model and severity; 0: clean images.
        provenance: a row a thing that figures come from; several where predictions differ in it.
        missing: a row a network and distortion that counts and lacks predictions.
        baseline: what the normalised metrics are relative to.
        command: what started the latest session.
        subset: whether that session was asked for some of the distortions only.
        warnings: what may not be compared although the leaderboard shows it, a sentence each.
    """

    leaderboard: pd.DataFrame
    intervals: pd.DataFrame = field(default_factory=pd.DataFrame)
    normalised: pd.DataFrame = field(default_factory=pd.DataFrame)
    relative: pd.DataFrame = field(default_factory=pd.DataFrame)
    seeds: pd.DataFrame = field(default_factory=pd.DataFrame)
    corruptions: pd.DataFrame = field(default_factory=pd.DataFrame)
    perturbations: pd.DataFrame = field(default_factory=pd.DataFrame)
    consistency: pd.DataFrame = field(default_factory=pd.DataFrame)
    diagonal: pd.DataFrame = field(default_factory=pd.DataFrame)
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    provenance: pd.DataFrame = field(default_factory=pd.DataFrame)
    missing: pd.DataFrame = field(default_factory=pd.DataFrame)
    baseline: str | None = None
    command: str | None = None
    subset: bool = False
    warnings: Sequence[str] = ()

    def write(self, folder: Path) -> list[Path]:
        """Writes the tables that have rows; what an earlier report left of the others goes."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for of in fields(self):
            path = folder / f"{of.name}.csv"
            path.unlink(missing_ok=True)
            table = getattr(self, of.name)
            if isinstance(table, pd.DataFrame) and not table.empty:
                table.to_csv(path, index=False, float_format=in_full, lineterminator="\n")
                written.append(path)
        return written


def make_tables(
    store: Store,
    models: Mapping[str, Model],
    baseline: str | None = None,
    with_published: bool = False,
) -> Tables:
    """Compute all tables of a run.

    Args:
        store: of the run.
        models: the run's models with their outcomes.
        baseline: a model of the run for the normalised figures, or a published one; None means the
            run's own choice.
        with_published: whether the leaderboard ends with what was published of others.

    Raises:
        UnknownName: the run has no such model.
        UsageError: the published figures are not of what the run measures.
    """
    kinds, datasets = store.kinds(), store.manifest.datasets
    board = Board(models, kinds, datasets)
    baseline = baseline or store.manifest.baseline
    leaderboard = board.leaderboard(baseline)
    if partial := partial_classes(datasets):
        # classes that have no images are answers too, which a reader of the table must know
        place = list(leaderboard).index("images") + 1
        present = min(of["labels"]["present"] for of in datasets.values())
        leaderboard.insert(place, "classes_present", present)
        leaderboard.insert(place, "classes", max(of["classes"] for of in datasets.values()))
    if with_published:
        leaderboard = beside_published(leaderboard, datasets)
    of = models.values()
    origins = read_origins(store)
    check_sources(origins)
    return Tables(
        leaderboard=leaderboard,
        intervals=board.intervals(baseline),
        normalised=board.normalised(baseline),
        relative=board.relative(),
        seeds=board.seeds(baseline),
        corruptions=cell_tables.corruptions(of, kinds),
        perturbations=cell_tables.perturbations(of, kinds.get("perturbation")),
        consistency=cell_tables.consistency(of, kinds.get("shift")),
        diagonal=cell_tables.diagonal(of, kinds.get("shift")),
        calibration=cell_tables.calibration(of, kinds.get("corruption")),
        baseline=baseline,
        command=store.manifest.command,
        provenance=provenance(store, origins),
        missing=missing(store, of),
        subset=store.manifest.subset,
        warnings=[*partial, *mixtures(origins), *other_frames(origins)],
    )
