"""Tables with one row per model and corruption, perturbation, shift or severity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, product
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aa.metrics.bootstrap import mean_interval
from robustbench_aa.metrics.calibration import BINS
from robustbench_aa.metrics.comparison import values_by_distortion
from robustbench_aa.metrics.consistency import consistency_among_correct
from robustbench_aa.metrics.flip_rate import TOP5_LARGEST, ZIPF_LARGEST
from robustbench_aa.metrics.per_image import Model, Outcomes
from robustbench_aa.metrics.shifts import EXTREMES
from robustbench_aa.types import CLEAN, Distortion, column_of, kind_of


def corruptions(models: Iterable[Model], kinds: Mapping[str, str]) -> pd.DataFrame:
    """Return the error under every corruption at every severity, and on clean images.

    Clean images have severity 0 and one row per data set that contains them, except for those of
    `natural_shifts`.

    Args:
        models: models of the run.
        kinds: data sets of the run by kind.
    """
    rows = []
    corrupted = [key for key in kinds if kind_of(key) == "corruption"]
    if not corrupted:
        return pd.DataFrame()
    for model in models:
        for kind in [*(kind for kind in kinds if kind == "clean"), *corrupted]:
            mean, seeds = model.mean[kind], model.seed_outcomes(kind)
            for distortion in filter(mean.shown, mean.wrong):
                wrong = mean.wrong[distortion]
                cell: dict[str, Any] = {
                    "model": model.name,
                    "dataset": kinds[kind],
                    "corruption": distortion.name,
                }
                cell |= {"severity": distortion.severity or 0, "images": mean.images}
                error = _estimate("error", wrong, [seed.wrong[distortion] for seed in seeds])
                rows.append(cell | error | {"group": distortion.group})
    return pd.DataFrame(rows)


def corruption_means(models: Iterable[Model], kinds: Mapping[str, str]) -> pd.DataFrame:
    """Return the error under every corruption, averaged over the severities of the run.

    Corruptions that a model has not completed have no row. The severities follow the name if the
    run did not ask for all of them.
    """
    rows = []
    corrupted = [key for key in kinds if kind_of(key) == "corruption"]
    for model, key in product(models, corrupted):
        mean = model.mean[key]
        by_seed = [values_by_distortion(seed, "wrong") for seed in model.seed_outcomes(key)]
        groups = {cell.name: cell.group for cell in mean.wrong}
        for label, wrong in values_by_distortion(mean, "wrong").items():
            row: dict[str, Any] = {"model": model.name, "dataset": kinds[key]}
            row |= {"corruption": label, "images": mean.images}
            row |= _estimate("error", wrong, [seed[label] for seed in by_seed])
            rows.append(row | {"group": _group_of(label, groups)})
    return pd.DataFrame(rows)


def one_clean(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of errors with one clean row for each model.

    A run may have two data sets with clean images. The one that also has corruptions is preferred,
    so that a curve by severity shows the same images throughout.
    """
    clean, corrupted = table[table["severity"] == 0], table[table["severity"] > 0]
    own = clean["dataset"].isin(corrupted["dataset"])
    chosen = pd.concat([clean[own], clean[~own]]).drop_duplicates("model")
    return pd.concat([chosen, corrupted])


def _group_of(label: str, groups: Mapping[str, str]) -> str:
    """Return the group of the corruption whose name begins a label; names may contain spaces."""
    longest = max((name for name in groups if f"{label} ".startswith(f"{name} ")), key=len)
    return groups[longest]


def natural_shifts(
    models: Iterable[Model], kinds: Mapping[str, str], datasets: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Return the error on every data set of clean images with columns of its own.

    Args:
        models: models of the run.
        kinds: data sets of the run by kind.
        datasets: descriptions of the data sets in `run.json`, by name.
    """
    rows = []
    for model in models:
        for key in (key for key in kinds if kind_of(key) == "clean" and column_of(key)):
            mean, seeds = model.mean[key], model.seed_outcomes(key)
            scoring = datasets[kinds[key]]["scoring"]
            row = {"model": model.name, "dataset": kinds[key], "class_rule": scoring["rule"]}
            row |= {"images": mean.images, "images_left_out": scoring["left_out"]}
            errors = [seed.wrong[CLEAN] for seed in seeds]
            rows.append(row | _estimate("error", mean.wrong[CLEAN], errors))
    return pd.DataFrame(rows)


def perturbations(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
    """Return the flip probability and the distances under every perturbation.

    Perturbations that were neither asked for nor evaluated have no row, nor have hold-outs that
    were not evaluated.
    """
    rows = []
    for model in models if dataset else ():
        mean, seeds = model.mean["perturbation"], model.seed_outcomes("perturbation")
        for cell, flips in mean.flips.items():
            if not mean.shown(cell) or (cell.held_out and np.isnan(flips).all()):
                continue
            row: dict[str, Any] = {
                "model": model.name,
                "dataset": dataset,
                "perturbation": cell.name,
            }
            row |= {"images": mean.images}
            row |= _estimate("flip_probability", flips, [seed.flips[cell] for seed in seeds])
            distances = [seed.top5_distance[cell] for seed in seeds]
            row |= _estimate("top5_distance", mean.top5_distance[cell], distances, TOP5_LARGEST)
            if cell in mean.zipf_distance:
                zipf = [seed.zipf_distance[cell] for seed in seeds]
                row |= _estimate("zipf_distance", mean.zipf_distance[cell], zipf, ZIPF_LARGEST)
            rows.append(row | {"group": cell.group})
    return pd.DataFrame(rows)


def diagonal(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
    """Return the mean probability of the true class at every offset along the diagonal."""
    rows = []
    for model in models if dataset else ():
        mean = model.mean["shift"]
        for shift, probabilities in mean.diagonal.items():
            for offset, probability in enumerate(probabilities if mean.shown(shift) else ()):
                row = {"model": model.name, "dataset": dataset, "offset": offset}
                rows.append(row | {"images": mean.images, "label_probability": probability})
    return pd.DataFrame(rows)


def consistency(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
    """Return the metrics of every shift protocol that was evaluated."""
    rows = []
    for model in models if dataset else ():
        mean, seeds = model.mean["shift"], model.seed_outcomes("shift")
        for shift in filter(mean.shown, mean.cells):
            row: dict[str, Any] = {"model": model.name, "dataset": dataset, "protocol": shift.name}
            row |= {"images": mean.images}
            if shift in mean.wrong:
                row["accuracy"] = 1.0 - mean.wrong[shift].mean()
            for metric, bounds in EXTREMES.items():
                cells = getattr(mean, metric)
                if shift in cells:
                    smallest, largest = sorted(bounds)
                    by_seed = [getattr(seed, metric)[shift] for seed in seeds]
                    row |= _estimate(metric, cells[shift], by_seed, largest, smallest)
            if shift in mean.consistency and shift in mean.wrong:
                row["consistency_among_correct"] = np.mean(
                    [
                        consistency_among_correct(seed.consistency[shift], seed.wrong[shift])
                        for seed in seeds
                    ]
                )
            rows.append(row)
    return pd.DataFrame(rows)


def calibration(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
    """Return the expected calibration error by severity, averaged over the counted corruptions.

    In a run of a subset, these are the corruptions that it asked for, at the severities that they
    have in common.
    """
    rows = []
    for model in models if dataset else ():
        mean, seeds = model.mean["corruption"], model.seed_outcomes("corruption")
        for severity, same_severity in _calibrated(mean):
            row: dict[str, Any] = {"model": model.name, "dataset": dataset, "severity": severity}
            row |= {"images": mean.images, "ece": mean.mean_ece(same_severity)}
            spread = std([seed.mean_ece(same_severity) for seed in seeds])
            rows.append(row | {"ece_std": spread})
    return pd.DataFrame(rows)


def reliability(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
    """Return the accuracy by confidence, at every severity of `calibration`.

    The predictions of all networks of a model, and under all counted corruptions of a severity, are
    pooled. Bins without predictions have no row.
    """
    rows = []
    for model in models if dataset else ():
        seeds = model.seed_outcomes("corruption")
        for severity, cells in _calibrated(model.mean["corruption"]):
            bins = np.zeros((BINS, 3))
            for seed in seeds:
                for cell in cells:
                    bins = bins + seed.reliability[cell]  # NaN for an incomplete cell
            for place, (count, confidence, correct) in enumerate(bins):
                if count > 0:
                    row: dict[str, Any] = {"model": model.name, "dataset": dataset}
                    row["severity"] = severity
                    row |= {"bin_low": place / BINS, "bin_high": (place + 1) / BINS}
                    row |= {"predictions": int(count), "confidence": confidence / count}
                    rows.append(row | {"accuracy": correct / count})
    return pd.DataFrame(rows)


def _calibrated(mean: Outcomes) -> Iterator[tuple[int, list[Distortion]]]:
    """Yield each severity with its counted corruptions; severity 0 is clean images."""
    cells = [CLEAN, *at_common_severities(mean.counted())]
    cells = [cell for cell in cells if cell in mean.ece and mean.selects(cell)]
    cells.sort(key=lambda cell: cell.severity or 0)
    for severity, same in groupby(cells, key=lambda cell: cell.severity or 0):
        yield severity, list(same)


def subset(models: Iterable[Model], kinds: Mapping[str, str]) -> pd.DataFrame:
    """Return the distortions that a mean over a subset counts, the same for every model.

    Returns:
        One row per distortion with its `metric`, `dataset`, `distortion` and `severity`, which is 0
        for a perturbation.
    """
    first = next(iter(models))
    rows = [
        {"metric": _of(metric, key), "dataset": kinds[key], "distortion": cell.name}
        | {"severity": cell.severity or 0}
        for kind, metric in SUBSET_METRICS.items()
        for key in kinds
        if kind_of(key) == kind
        for cell in first.mean[key].subset or ()
    ]
    return pd.DataFrame(rows)


def _of(metric: str, key: str) -> str:
    """Return the column of a metric for the data set with this key."""
    return "_".join(filter(None, (metric, column_of(key))))


def at_common_severities(cells: Sequence[Distortion]) -> list[Distortion]:
    """Return the cells at severities that all corruptions have, for means that are comparable."""
    names = {cell.name for cell in cells}
    found = {(cell.name, cell.severity) for cell in cells}
    return [cell for cell in cells if {(name, cell.severity) for name in names} <= found]


SUBSET_METRICS = {
    "corruption": "mean_error_subset",
    "perturbation": "mean_flip_probability_subset",
}
"""The mean over a subset, by kind of data set."""


def _estimate(
    metric: str,
    mean: np.ndarray,
    seeds: Sequence[np.ndarray],
    largest: float = 1.0,
    smallest: float = 0.0,
) -> dict[str, float]:
    """Return the mean over images, its interval, and its spread over training seeds."""
    low, high = mean_interval(mean, largest, smallest)
    return {
        metric: mean.mean(),
        f"{metric}_low": low,
        f"{metric}_high": high,
        f"{metric}_std": std([seed.mean() for seed in seeds]),
    }


def std(values: Sequence[float]) -> float:
    """Return the standard deviation over training seeds; NaN for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
