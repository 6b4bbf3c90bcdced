"""The outcomes of each model on each image, read from its predictions.

Every metric is computed from them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from robustbench_aa.metrics.calibration import expected_calibration_error, reliability
from robustbench_aa.metrics.flip_rate import (
    flip_probability,
    top5_distance,
    zipf_distance,
)
from robustbench_aa.metrics.shifts import METRICS_OF_SHIFTS, measure_shift, metrics_of
from robustbench_aa.store.kinds import kinds_of
from robustbench_aa.store.predictions import RANKING, UNSHIFTED_PROBABILITY
from robustbench_aa.store.shards import Store
from robustbench_aa.support.training_seeds import groups
from robustbench_aa.types import CLEAN, Distortion, counted, unshifted


def subset_of(
    cells: Iterable[Distortion], selected: Collection[Distortion] | None
) -> list[Distortion] | None:
    """Return the distortions of a subset, without clean images.

    Args:
        cells: distortions of a data set.
        selected: those that the run asked for; None for all.

    Returns:
        The selected distortions if they lack any that the data set's means count, otherwise None.
        No published metric is about a subset.
    """
    cells = list(cells)
    if selected is None or set(counted(cells)) - {CLEAN} <= set(selected):
        return None
    return [cell for cell in cells if cell in selected and cell != CLEAN]


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a network on one data set, or the means of several networks.

    Values are NaN where a cell is incomplete. Images without labels have none of the outcomes
    `NEED_LABELS`.

    Attributes:
        wrong: share of each image's frames that are classified wrongly, by distortion [images].
        flips: flip probability of each sequence, by perturbation [images].
        top5_distance: top-5 distance of each sequence, by perturbation [images].
        zipf_distance: Zipf distance of each sequence, by perturbation [images]. It is empty unless
            the run kept rankings.
        ece: expected calibration error over all images, by corruption or clean [1].
        reliability: predictions by bin of confidence, by corruption or clean [bins, 3]; see
            `metrics/calibration.py`.
        consistency, accuracy_worst, fooled, accuracy_drop, probability_change: as in
            `metrics/shifts.py`, by shift protocol [images].
        diagonal: mean probability of the true class, by the shift protocol `diagonal` [frames].
        selected: distortions that the run asked for; None for all.
        trained_on: corruptions that any model of the run was trained on.
    """

    wrong: Mapping[Distortion, np.ndarray]
    flips: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    top5_distance: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    zipf_distance: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    ece: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    reliability: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    consistency: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    accuracy_worst: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    fooled: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    accuracy_drop: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    probability_change: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    diagonal: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    selected: Collection[Distortion] | None = None
    trained_on: Collection[str] = ()

    @property
    def images(self) -> int:
        """The number of images in the data set."""
        return len(self._any[self.cells[0]])

    @cached_property
    def cells(self) -> list[Distortion]:
        """The distortions of the data set, complete or not."""
        return list(self._any)

    @cached_property
    def _any(self) -> Mapping[Distortion, np.ndarray]:
        """An outcome of each image by distortion, which shows whether a cell is complete."""
        return self.wrong or {**self.consistency, **self.fooled, **self.flips}

    @property
    def complete(self) -> bool:
        """Whether no distortion is missing. Hold-outs beside a whole data set may be."""
        return not self.missing

    @property
    def missing(self) -> list[Distortion]:
        """The distortions that the run asked for and the means count, if incomplete."""
        needed = counted(self.cells) if self.subset is None else [CLEAN, *self.subset]
        return [
            cell
            for cell in needed
            if cell in self._any and self.selects(cell) and np.isnan(self._any[cell]).any()
        ]

    @property
    def subset(self) -> list[Distortion] | None:
        """The distortions of a subset, as `subset_of` returns them; None for a whole data set."""
        return subset_of(self.cells, self.selected)

    def selects(self, cell: Distortion) -> bool:
        """Return whether the run asked for a distortion."""
        return self.selected is None or cell in self.selected

    def shown(self, cell: Distortion) -> bool:
        """Return whether tables list a distortion: the run asked for it, or has predictions."""
        return self.selects(cell) or not np.isnan(self._any[cell]).all()

    def counted(self) -> list[Distortion]:
        """Return the corruptions that the mean over the data set, or over its subset, counts."""
        cells = counted(self.cells) if self.subset is None else self.subset
        return [cell for cell in cells if cell.severity]

    def mean_ece(self, cells: Iterable[Distortion]) -> float:
        """Return the mean of the calibration errors under some distortions."""
        return float(np.mean([self.ece[cell].item() for cell in cells]))


TABLES = (
    *("wrong", "flips", "top5_distance", "zipf_distance", "ece", "reliability"),
    *METRICS_OF_SHIFTS,
    "diagonal",
)
"""The fields of `Outcomes` with values by distortion."""
NEED_LABELS = ("wrong", "ece", "reliability", "accuracy_worst", "accuracy_drop", "diagonal")
"""The outcomes that images without labels lack."""
POOLED = ("ece", "reliability", "diagonal")
"""Outcomes over all images together."""
OutcomesByKind = Mapping[str, Outcomes]
"""Outcomes by kind of data set: `corruption`, `perturbation`, `shift` or `clean`.

A data set whose metrics have columns of their own has a key such as `clean:imagenet_r_200`.
"""


@dataclass(frozen=True)
class Model:
    """A model of a run.

    Attributes:
        name: name without the training seed.
        parameters: number of parameters.
        mean: outcomes averaged over the training seeds, image by image.
        seeds: outcomes of each network by its name.
    """

    name: str
    parameters: int
    mean: OutcomesByKind
    seeds: Mapping[str, OutcomesByKind]

    def seed_outcomes(self, kind: str) -> list[Outcomes]:
        """Return the outcomes of each network on the data set of a kind."""
        return [seed[kind] for seed in self.seeds.values()]


def read_models(store: Store) -> dict[str, Model]:
    """Read the outcomes of all models of a run, in the order of the run."""
    kinds = kinds_of(store.manifest)
    networks = {
        name: {kind: _read(store, name, dataset) for kind, dataset in kinds.items()}
        for name in store.manifest.models
    }
    _drop_unused_shifts([outcomes for outcomes in networks.values() if "shift" in outcomes])
    models = {}
    for model, names in groups(store.manifest.models).items():
        seeds = {name: networks[name] for name in names}
        mean = {kind: _mean([seed[kind] for seed in seeds.values()]) for kind in kinds}
        parameters = store.manifest.models[names[0]]["parameters"]
        models[model] = Model(model, parameters, mean, seeds)
    return models


def _drop_unused_shifts(networks: Sequence[dict[str, Outcomes]]) -> None:
    """Drop the shift protocols that nobody asked for and no network was evaluated under."""
    shifted = [outcomes["shift"] for outcomes in networks]
    unused = [
        cell
        for cell in (shifted[0].cells if shifted else ())
        if cell.held_out and not any(part.shown(cell) for part in shifted)
    ]
    for outcomes, part in zip(networks, shifted, strict=True):
        tables = {name: dict(getattr(part, name)) for name in TABLES}
        for cell in unused:
            for table in tables.values():
                table.pop(cell, None)
        outcomes["shift"] = replace(part, **tables)


def _mean(outcomes: Sequence[Outcomes]) -> Outcomes:
    """Return the means over networks, image by image; NaN in a cell that any network lacks."""
    means = {}
    for name in TABLES:
        tables = [getattr(outcome, name) for outcome in outcomes]
        means[name] = {
            # incomplete outcomes over all images together are a single NaN
            cell: np.mean(np.broadcast_arrays(*(by_cell[cell] for by_cell in tables)), axis=0)
            for cell in tables[0]
        }
    return replace(outcomes[0], **means)


def _read(store: Store, model: str, dataset: str) -> Outcomes:
    tables: dict[str, dict[Distortion, np.ndarray]] = {name: {} for name in TABLES}
    images = store.manifest.datasets[dataset]["images"]
    left_out = () if store.is_labelled(dataset) else NEED_LABELS
    for cell in store.cells(dataset):
        measurement = _measurement(cell.distortion, cell.frames, store.manifest.keep_ranking)
        rows = store.read(model, cell, ["image", "frame", *measurement.columns])
        if rows is None:
            outcomes = {
                name: np.full(1 if name in POOLED else images, np.nan)
                for name in ("wrong", *measurement.names)
            }
        else:
            rows = rows.sort_values(["image", "frame"])
            columns = (_by_image(rows[name], images) for name in measurement.columns)
            outcomes = measurement.compute(cell.distortion, *columns)
        for name in outcomes.keys() - left_out:
            tables[name][cell.distortion] = outcomes[name]
    trained_on = {
        corruption
        for identity in store.manifest.models.values()
        for corruption in identity.get("trained_on", ())
    }
    return Outcomes(**tables, selected=store.selected(dataset), trained_on=trained_on)


def _by_image(column: pd.Series, images: int) -> np.ndarray:
    """Return a column as [images, frames], or rankings as [images, frames, classes]."""
    values = np.stack(column.to_list()) if column.name == RANKING else column.to_numpy()
    return values.reshape(images, -1, *values.shape[1:])


class Measurement(NamedTuple):
    """The outcomes that are computed from the predictions under some distortions.

    Attributes:
        columns: columns of the predictions that are read, [images, frames] each.
        names: names of the outcomes besides `wrong`.
        compute: function (distortion, *columns) → outcomes by name.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    compute: Callable[..., dict[str, np.ndarray]]


def _measure_pictures(
    _distortion: Distortion, label: np.ndarray, top1: np.ndarray, probability: np.ndarray
) -> dict[str, np.ndarray]:
    right = top1 == label
    confidence, correct = probability.ravel(), right.ravel()
    return {
        "wrong": (~right).mean(axis=1),
        "ece": np.array([expected_calibration_error(confidence, correct)]),
        "reliability": reliability(confidence, correct),
    }


def _measure_shifts(
    shift: Distortion, label: np.ndarray, top1: np.ndarray, *probabilities: np.ndarray
) -> dict[str, np.ndarray]:
    """Measure shifts; the probabilities are those of the unshifted class and of the true class."""
    found = {"wrong": (top1 != label).mean(axis=1)}
    found |= measure_shift(shift, label, top1, *probabilities[:1])
    if len(probabilities) > 1:
        found["diagonal"] = probabilities[1].mean(axis=0)
    return found


def _measure_sequences(
    perturbation: Distortion, label: np.ndarray, *top: np.ndarray
) -> dict[str, np.ndarray]:
    noise = perturbation.compared_with == "first"
    return {
        "wrong": (top[0] != label).mean(axis=1),
        "flips": flip_probability(top[0], noise),
        "top5_distance": top5_distance(np.stack(top, axis=-1), noise),
    }


def _measure_rankings(
    perturbation: Distortion, label: np.ndarray, ranking: np.ndarray
) -> dict[str, np.ndarray]:
    top = np.moveaxis(ranking[..., :5].astype(np.int32), -1, 0)
    zipf = zipf_distance(ranking, perturbation.compared_with == "first")
    return _measure_sequences(perturbation, label, *top) | {"zipf_distance": zipf}


MEASUREMENTS = {
    "pictures": Measurement(
        ("label", "top1", "top1_probability"), ("ece", "reliability"), _measure_pictures
    ),
    "sequences": Measurement(
        ("label", "top1", "top2", "top3", "top4", "top5"),
        ("flips", "top5_distance"),
        _measure_sequences,
    ),
    "rankings": Measurement(
        ("label", RANKING), ("flips", "top5_distance", "zipf_distance"), _measure_rankings
    ),
}
"""By the form of the predictions."""


def _measurement(distortion: Distortion, frames: int, keep_ranking: bool) -> Measurement:
    if distortion.kind == "perturbation":
        return MEASUREMENTS["rankings" if keep_ranking else "sequences"]
    if distortion.kind != "shift":
        return MEASUREMENTS["pictures"]
    columns, names = ["label", "top1"], metrics_of(distortion, frames)
    if unshifted(distortion, frames) is not None:
        columns.append(UNSHIFTED_PROBABILITY)
    if distortion.name == "diagonal":
        columns.append("label_probability")
        names = (*names, "diagonal")
    return Measurement(tuple(columns), names, _measure_shifts)
