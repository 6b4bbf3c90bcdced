"""The tables of a run: the leaderboard, its training seeds, corruptions, consistency."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aa.errors import UnknownName
from robustbench_aa.metrics import baselines
from robustbench_aa.metrics import corruption_error as ce
from robustbench_aa.metrics.consistency import among_correct
from robustbench_aa.metrics.flip_rate import mean_rate
from robustbench_aa.metrics.intervals import bootstrap_means, interval
from robustbench_aa.metrics.outcomes import ByKind, Model, Outcomes, clean_error, read_models
from robustbench_aa.store import Store
from robustbench_aa.types import CLEAN

Row = dict[str, Any]

RANKED_BY = {
    "mean_error": True,
    "mean_flip_probability": True,
    "clean_error": True,
    "consistency_crops": False,
    "consistency_circular": False,
}
"""The first of these figures that a leaderboard has ranks it; True where less is better."""


SPREAD = (
    *("clean_error", "mean_error", "mce_", "relative_mce_", "holdout_error"),
    *("mean_flip_probability", "mfr_", "mt5d_", "consistency_", "ece"),
)
"""How the names of figures begin whose spread over training seeds is told."""
ON_IMAGENET = ("imagenet-c", "imagenet-c-live", "imagenet-p", "imagenet-p-live")


@dataclass(frozen=True)
class Tables:
    """The tables of a run; each is written as the CSV file of its name.

    Attributes:
        leaderboard: a row a model, the best first; figures are means over its training seeds, and
            `<figure>_std` is their standard deviation.
        seeds: a row a network of the models that have several training seeds.
        corruptions: a row a model and corruption × severity.
        perturbations: a row a model and perturbation.
        consistency: a row a model and shift protocol.
        diagonal: a row a model and offset along the diagonal.
        calibration: a row a model and severity; 0: clean images.
    """

    leaderboard: pd.DataFrame
    seeds: pd.DataFrame
    corruptions: pd.DataFrame
    perturbations: pd.DataFrame
    consistency: pd.DataFrame
    diagonal: pd.DataFrame
    calibration: pd.DataFrame

    def write(self, folder: Path) -> list[Path]:
        """Writes the tables that have rows; what an earlier report left of the others goes."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for field in fields(self):
            path = folder / f"{field.name}.csv"
            path.unlink(missing_ok=True)
            table: pd.DataFrame = getattr(self, field.name)
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
    baseline = baseline or store.manifest.baseline
    if baseline is not None and baseline not in models:
        raise UnknownName("baseline (a model of the run)", baseline, models)
    reference = models[baseline] if baseline else None
    # what was published of AlexNet is of ImageNet's photographs, and of nothing else
    published = {kind for kind, name in store.kinds().items() if name in ON_IMAGENET}
    rows, seeded = [], []
    for model in models.values():
        seeds = [_row(name, model, of, reference, published) for name, of in model.seeds.items()]
        mean = _row(model.name, model, model.mean, reference, published)
        rows.append(mean | _spread(seeds))
        seeded += seeds if len(seeds) > 1 else []
    return Tables(
        leaderboard=_ranked(pd.DataFrame(rows)),
        seeds=pd.DataFrame(seeded),
        corruptions=_corruptions(models.values(), store.kinds().get("corruption")),
        perturbations=_perturbations(models.values(), store.kinds().get("perturbation")),
        consistency=_consistency(models.values(), store.kinds().get("shift")),
        diagonal=_diagonal(models.values(), store.kinds().get("shift")),
        calibration=_calibration(models.values(), store.kinds().get("corruption")),
    )


def _row(
    name: str, model: Model, outcomes: ByKind, reference: Model | None, on_imagenet: set[str]
) -> Row:
    """The figures of a model, or of one of its training seeds, in the order of the columns."""
    images = max(outcome.images for outcome in outcomes.values())
    row: Row = {"model": name, "params_m": model.parameters / 1e6, "images": images}
    clean = clean_error(outcomes)
    if clean is not None:
        row["clean_error"] = clean
    corrupted = outcomes.get("corruption")
    if corrupted:
        row |= _corrupted(corrupted, clean, reference, "corruption" in on_imagenet)
    if perturbed := outcomes.get("perturbation"):
        row |= _perturbed(perturbed, reference, "perturbation" in on_imagenet)
    if shifted := outcomes.get("shift"):
        for shift, agreement in shifted.agreement.items():
            row[f"consistency_{shift.name}"] = agreement.mean()
    if corrupted:
        row["ece"] = corrupted.mean_ece(corrupted.counted())
    return row | {"complete": all(outcome.complete for outcome in outcomes.values())}


def _corrupted(
    corrupted: Outcomes, clean: float | None, reference: Model | None, on_imagenet: bool
) -> Row:
    """The figures of corruption error."""
    counted = corrupted.counted()
    errors = corrupted.errors(counted)
    per_image = np.mean([corrupted.wrong[cell] for cell in counted], axis=0)
    low, high = interval(bootstrap_means(per_image))
    row = {"mean_error": ce.mean_error(errors), "mean_error_low": low, "mean_error_high": high}
    if reference:
        base = reference.mean["corruption"].errors(counted)
        row |= _normalised(errors, clean, reference.name, base, clean_error(reference.mean))
    published = baselines.alexnet()
    if on_imagenet and set(errors.index) <= set(published.errors.index):
        base = published.errors.reindex(index=errors.index, columns=errors.columns)
        row |= _normalised(errors, clean, published.name, base, published.clean_error)
    if held_out := corrupted.held_out():
        row["holdout_error"] = ce.mean_error(corrupted.errors(held_out))
    return row


def _perturbed(perturbed: Outcomes, reference: Model | None, on_imagenet: bool) -> Row:
    """The figures of flip rate."""
    flips, distances = perturbed.rates("flips"), perturbed.rates("top5_distance")
    row: Row = {"mean_flip_probability": flips.mean(skipna=False)}
    bases = {}
    if reference:
        base = reference.mean["perturbation"]
        bases[reference.name] = (base.rates("flips"), base.rates("top5_distance"))
    if on_imagenet:
        alexnet = baselines.alexnet_p().loc[flips.index]
        bases["alexnet"] = (alexnet["flip_probability"], alexnet["top5_distance"])
    row |= {f"mfr_{name}": mean_rate(flips, base) for name, (base, _) in bases.items()}
    return row | {f"mt5d_{name}": mean_rate(distances, base) for name, (_, base) in bases.items()}


def _normalised(
    errors: pd.DataFrame,
    clean: float | None,
    name: str,
    base: pd.DataFrame,
    base_clean: float | None,
) -> Row:
    """mCE and, where clean images were measured, relative mCE against a baseline."""
    row: Row = {f"mce_{name}": ce.mean_of(ce.corruption_error(errors, base))}
    if clean is not None and base_clean is not None:
        relative = ce.relative_corruption_error(errors, clean, base, base_clean)
        row[f"relative_mce_{name}"] = ce.mean_of(relative)
    return row


def _spread(seeds: Sequence[Row]) -> Row:
    """How far a model's training seeds lie apart: the standard deviation of their figures."""
    spread: Row = {"seeds": len(seeds)}
    for figure in seeds[0]:
        if figure.startswith(SPREAD) and not figure.endswith(("_low", "_high")):
            spread[f"{figure}_std"] = _std([seed[figure] for seed in seeds])
    return spread


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Orders rows by the figure that ranks them; those that lack it come last, without a rank."""
    figure = next(column for column in RANKED_BY if column in table)
    rank = table[figure].rank(method="min", ascending=RANKED_BY[figure]).astype("Int64")
    table.insert(0, "rank", rank)
    return table.sort_values("rank", kind="stable", na_position="last", ignore_index=True)


def _corruptions(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
    rows = []
    for model in models if dataset else ():
        mean, seeds = model.mean["corruption"], model.of_seeds("corruption")
        for distortion, wrong in mean.wrong.items():
            told = {"model": model.name, "dataset": dataset, "corruption": distortion.name}
            cell = {"severity": distortion.severity or 0, "images": mean.images}
            error = _estimate("error", wrong, [seed.wrong[distortion] for seed in seeds])
            rows.append(told | cell | error | {"family": distortion.family})
    return pd.DataFrame(rows)


def _perturbations(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
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
            row |= _estimate("top5_distance", mean.top5_distance[cell], distances)
            if cell in mean.zipf_distance:
                zipf = [seed.zipf_distance[cell] for seed in seeds]
                row |= _estimate("zipf_distance", mean.zipf_distance[cell], zipf)
            rows.append(row | {"family": cell.family})
    return pd.DataFrame(rows)


def _diagonal(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
    """The true class's mean probability as the crop slides along the diagonal."""
    rows = []
    for model in models if dataset else ():
        mean = model.mean["shift"]
        for probabilities in mean.diagonal.values():
            for offset, probability in enumerate(probabilities):
                told = {"model": model.name, "dataset": dataset, "offset": offset}
                rows.append(told | {"images": mean.images, "label_probability": probability})
    return pd.DataFrame(rows)


def _consistency(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
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


def _calibration(models: Iterable[Model], dataset: str | None) -> pd.DataFrame:
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
            rows.append(told | figures | {"ece_std": _std([s.mean_ece(alike) for s in seeds])})
    return pd.DataFrame(rows)


def _estimate(figure: str, mean: np.ndarray, seeds: Sequence[np.ndarray]) -> Row:
    """The mean over images, its interval, and its spread over training seeds."""
    low, high = interval(bootstrap_means(mean))
    return {
        figure: mean.mean(),
        f"{figure}_low": low,
        f"{figure}_high": high,
        f"{figure}_std": _std([seed.mean() for seed in seeds]),
    }


def _std(values: Sequence[float]) -> float:
    """The standard deviation over training seeds; NaN for one alone."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
