"""The tables of a run's cells: a row a model and corruption, perturbation, shift or severity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aa.metrics.bootstrap import mean_interval
from robustbench_aa.metrics.consistency import among_correct
from robustbench_aa.metrics.flip_rate import TOP5_LARGEST, ZIPF_LARGEST
from robustbench_aa.metrics.per_image import Model
from robustbench_aa.types import CLEAN

Row = dict[str, Any]


def corruptions(models: Iterable[Model], kinds: Mapping[str, str]) -> pd.DataFrame:
    """Return the error in every cell of the sets of corrupted and of clean images.

    Clean images have severity 0, a row for each data set that has them.

    Args:
        kinds: the run's data set of each kind.
    """
    rows = []
    if "corruption" not in kinds:
        return pd.DataFrame()
    for model in models:
        for kind in [kind for kind in ("clean", "corruption") if kind in kinds]:
            mean, seeds = model.mean[kind], model.of_seeds(kind)
            for distortion, wrong in mean.wrong.items():
                told = {"model": model.name, "dataset": kinds[kind], "corruption": distortion.name}
                cell = {"severity": distortion.severity or 0, "images": mean.images}
                error = _estimate("error", wrong, [seed.wrong[distortion] for seed in seeds])
                rows.append(told | cell | error | {"group": distortion.group})
    return pd.DataFrame(rows)


def perturbations(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
    """Counted perturbations, and those held out that were evaluated."""
    rows = []
    for model in models if dataset else ():
        mean, seeds = model.mean["perturbation"], model.of_seeds("perturbation")
        for cell, flips in mean.flips.items():
            if cell.held_out and np.isnan(flips).all():
                continue
            told = {"model": model.name, "dataset": dataset, "perturbation": cell.name}
            row = told | {"images": mean.images}
            row |= _estimate("flip_probability", flips, [seed.flips[cell] for seed in seeds])
            distances = [seed.top5_distance[cell] for seed in seeds]
            row |= _estimate("top5_distance", mean.top5_distance[cell], distances, TOP5_LARGEST)
            if cell in mean.zipf_distance:
                zipf = [seed.zipf_distance[cell] for seed in seeds]
                row |= _estimate("zipf_distance", mean.zipf_distance[cell], zipf, ZIPF_LARGEST)
            rows.append(row | {"group": cell.group})
    return pd.DataFrame(rows)


def diagonal(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
    """The true class's mean probability as the crop slides along the diagonal."""
    rows = []
    for model in models if dataset else ():
        mean = model.mean["shift"]
        for probabilities in mean.diagonal.values():
            for offset, probability in enumerate(probabilities):
                told = {"model": model.name, "dataset": dataset, "offset": offset}
                rows.append(told | {"images": mean.images, "label_probability": probability})
    return pd.DataFrame(rows)


def consistency(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
    """The consistency under every shift protocol that compares frames."""
    rows = []
    for model in models if dataset else ():
        mean, seeds = model.mean["shift"], model.of_seeds("shift")
        for shift, agreement in mean.agreement.items():
            told = {"model": model.name, "dataset": dataset, "protocol": shift.name}
            accuracy = {"images": mean.images, "accuracy": 1.0 - mean.wrong[shift].mean()}
            agreements = [seed.agreement[shift] for seed in seeds]
            correct = [among_correct(s.agreement[shift], s.wrong[shift]) for s in seeds]
            among = {"consistency_among_correct": np.mean(correct)}
            row = told | accuracy | _estimate("consistency", agreement, agreements)
            rows.append(row | among)
    return pd.DataFrame(rows)


def calibration(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
    """The expected calibration error by severity: the mean over the counted corruptions."""
    rows = []
    for model in models if dataset else ():
        mean, seeds = model.mean["corruption"], model.of_seeds("corruption")
        cells = [cell for cell in (CLEAN, *mean.counted()) if cell in mean.ece]
        cells.sort(key=lambda cell: cell.severity or 0)
        for severity, of in groupby(cells, key=lambda cell: cell.severity or 0):
            told = {"model": model.name, "dataset": dataset, "severity": severity}
            alike = list(of)
            figures = {"images": mean.images, "ece": mean.mean_ece(alike)}
            rows.append(told | figures | {"ece_std": std([s.mean_ece(alike) for s in seeds])})
    return pd.DataFrame(rows)


def _estimate(
    figure: str, mean: np.ndarray, seeds: Sequence[np.ndarray], largest: float = 1.0
) -> Row:
    """The mean over images, its interval, and its spread over training seeds."""
    low, high = mean_interval(mean, largest)
    return {
        figure: mean.mean(),
        f"{figure}_low": low,
        f"{figure}_high": high,
        f"{figure}_std": std([seed.mean() for seed in seeds]),
    }


def std(values: Sequence[float]) -> float:
    """The standard deviation over training seeds; NaN for one alone."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
