"""The tables of a run. Each is written as the CSV file with its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, overload

import pandas as pd

from robustbench_aa.metrics.pairs import differences
from robustbench_aa.metrics.per_image import Model
from robustbench_aa.report import cell_tables
from robustbench_aa.report.answers import answers
from robustbench_aa.report.leaderboard import Leaderboard
from robustbench_aa.report.literature import append_published
from robustbench_aa.report.provenance import (
    check_sources,
    conversion,
    converted,
    label_notes,
    lacks_classes,
    limit_notes,
    missing,
    mixtures,
    other_frames,
    partial_classes,
    provenance,
    read_origins,
    scoring_notes,
    subset_notes,
)
from robustbench_aa.report.rounding import format_full
from robustbench_aa.report.trained_on import listed, marked, read_trained_on, trained_notes
from robustbench_aa.store.kinds import kinds_of
from robustbench_aa.store.shards import Store


class Later:
    """A table that is computed when it is first read: the field of a dataclass.

    The field takes a table, or a function without arguments that computes it.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, tables: None, owner: type) -> Callable[[], pd.DataFrame]: ...
    @overload
    def __get__(self, tables: object, owner: type) -> pd.DataFrame: ...
    def __get__(self, tables: object | None, owner: type) -> Any:
        if tables is None:
            return pd.DataFrame  # the default of the field computes an empty table
        values = vars(tables)
        if callable(values[self._name]):
            values[self._name] = values[self._name]()
        return values[self._name]

    def __set__(self, tables: object, table: pd.DataFrame | Callable[[], pd.DataFrame]) -> None:
        vars(tables)[self._name] = table


@dataclass(frozen=True)
class Tables:
    """The tables of a run.

    `differences` and `answers`, which only a report shows, are computed when they are first read.

    Attributes:
        leaderboard: one row per model, the best first. Metrics are means over training seeds, and
            `<metric>_std` is their standard deviation. Published rows, if requested, come last,
            with their `source`.
        intervals: one row per model and metric, with its 95% interval over images.
        normalised: one row per model, baseline, metric and distortion, with its interval.
        relative: one row per model, baseline and normalised aggregate, for every model of the run
            and every comparable published network as the baseline.
        seeds: one row per network of the models with several training seeds.
        corruptions: one row per model, corruption and severity.
        corruption_means: one row per model and corruption, averaged over severities.
        natural_shifts: one row per model and data set of clean images with columns of its own.
        perturbations: one row per model and perturbation.
        consistency: one row per model and shift protocol.
        diagonal: one row per model and offset along the diagonal.
        calibration: one row per model and severity; severity 0 is clean images.
        reliability: one row per model, severity and bin of confidence that has predictions.
        differences: one row per pair of models and metric, and per distortion under it.
        answers: one row per network and shown image: the class that it predicted, and how surely.
        provenance: one row per property of the run, of a data set or of a model. A property with
            several values has a row for each.
        subset: one row per distortion that a mean over a subset counts.
        missing: one row per network and distortion that it lacks predictions of, of those that the
            run asked for and the means count.
        baseline: baseline of the normalised metrics.
        command: command that started the latest session.
        partial: whether the latest session asked for only some of the cells of the run.
        notes: sentences on what the values are about.
        warnings: sentences on values in the leaderboard that should not be compared.
    """

    leaderboard: pd.DataFrame
    intervals: pd.DataFrame = field(default_factory=pd.DataFrame)
    normalised: pd.DataFrame = field(default_factory=pd.DataFrame)
    relative: pd.DataFrame = field(default_factory=pd.DataFrame)
    seeds: pd.DataFrame = field(default_factory=pd.DataFrame)
    corruptions: pd.DataFrame = field(default_factory=pd.DataFrame)
    corruption_means: pd.DataFrame = field(default_factory=pd.DataFrame)
    natural_shifts: pd.DataFrame = field(default_factory=pd.DataFrame)
    perturbations: pd.DataFrame = field(default_factory=pd.DataFrame)
    consistency: pd.DataFrame = field(default_factory=pd.DataFrame)
    diagonal: pd.DataFrame = field(default_factory=pd.DataFrame)
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    reliability: pd.DataFrame = field(default_factory=pd.DataFrame)
    differences: Later = Later()
    answers: Later = Later()
    provenance: pd.DataFrame = field(default_factory=pd.DataFrame)
    subset: pd.DataFrame = field(default_factory=pd.DataFrame)
    missing: pd.DataFrame = field(default_factory=pd.DataFrame)
    baseline: str | None = None
    command: str | None = None
    partial: bool = False
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def write(self, folder: Path) -> list[Path]:
        """Write the tables that have rows, and delete the files of the others.

        Returns:
            Paths of the files written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for attribute in fields(self):
            path = folder / f"{attribute.name}.csv"
            path.unlink(missing_ok=True)
            table = getattr(self, attribute.name)
            if isinstance(table, pd.DataFrame) and not table.empty:
                table.to_csv(path, index=False, float_format=format_full, lineterminator="\n")
                written.append(path)
        return written


def make_tables(
    store: Store,
    models: Mapping[str, Model],
    baseline: str | None = None,
    with_published: bool = False,
) -> Tables:
    """Compute the tables of a run.

    Args:
        store: store of the run.
        models: models of the run with their outcomes.
        baseline: baseline of the normalised metrics: a model of the run or a published one; None
            for the run's own.
        with_published: whether to append published results to the leaderboard.

    Raises:
        UnknownName: the run has no such model.
        UsageError: published results are not comparable with the run.
    """
    kinds, datasets = kinds_of(store.manifest), store.manifest.datasets
    board = Leaderboard(models, kinds, datasets)
    baseline = baseline or store.manifest.baseline
    leaderboard = board.table(baseline)
    if partial := partial_classes(datasets):
        # readers must know that models can also predict classes without images
        place = list(leaderboard).index("images") + 1
        lacking = [dataset for dataset in datasets.values() if lacks_classes(dataset)]
        present = min(dataset["labels"]["present"] for dataset in lacking)
        leaderboard.insert(place, "classes_present", present)
        leaderboard.insert(place, "classes", max(dataset["classes"] for dataset in lacking))
    conversions = {name: conversion(store, model) for name, model in models.items()}
    if any(conversions.values()):
        place = list(leaderboard).index("images")
        leaderboard.insert(place, "conversion", leaderboard["model"].map(conversions))
    trained = read_trained_on(store, models)
    leaderboard = listed(leaderboard, trained)
    if with_published:
        leaderboard = append_published(leaderboard, datasets)
    subset = cell_tables.subset(models.values(), kinds)
    origins = read_origins(store)
    check_sources(origins)
    return Tables(
        leaderboard=leaderboard,
        intervals=board.intervals(baseline),
        normalised=marked(board.normalised(baseline), "distortion", trained),
        relative=board.relative(),
        seeds=board.seeds(baseline),
        corruptions=marked(cell_tables.corruptions(models.values(), kinds), "corruption", trained),
        corruption_means=cell_tables.corruption_means(models.values(), kinds),
        natural_shifts=cell_tables.natural_shifts(models.values(), kinds, datasets),
        perturbations=cell_tables.perturbations(models.values(), kinds.get("perturbation")),
        consistency=cell_tables.consistency(models.values(), kinds.get("shift")),
        diagonal=cell_tables.diagonal(models.values(), kinds.get("shift")),
        calibration=cell_tables.calibration(models.values(), kinds.get("corruption")),
        reliability=cell_tables.reliability(models.values(), kinds.get("corruption")),
        differences=lambda: differences(
            {name: model.mean for name, model in models.items()}, baseline
        ),
        answers=lambda: answers(store),
        baseline=baseline,
        command=store.manifest.command,
        provenance=provenance(store, origins),
        missing=missing(store, models.values()),
        subset=subset,
        partial=store.manifest.subset,
        notes=[
            *scoring_notes(datasets),
            *subset_notes(subset),
            *limit_notes(store),
            *label_notes(store),
            *trained_notes(trained),
            *store.notes,
        ],
        warnings=[
            *partial,
            *converted(store.manifest.models),
            *mixtures(origins),
            *other_frames(origins),
        ],
    )
