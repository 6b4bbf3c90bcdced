"""What every figure starts from: each model's outcome on each image, read from its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np
import pandas as pd

from robustbench_aa.metrics.calibration import expected_calibration_error
from robustbench_aa.metrics.consistency import circular_consistency, crop_consistency
from robustbench_aa.metrics.flip_rate import (
    flip_probability,
    top5_distance,
    zipf_distance,
)
from robustbench_aa.store.predictions import RANKING
from robustbench_aa.store.shards import Store
from robustbench_aa.types import Distortion, counted, groups


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a network, or the mean of several, on one data set.

    Attributes:
        wrong: by distortion [images], the share of each image's frames that are classified
            wrongly. NaN where a cell is not complete, as in all others.
        agreement: by shift protocol [images], how consistent the classes are under shifts.
        flips: by perturbation [images], how often the class changes along a sequence.
        top5_distance: by perturbation [images], how far the top-5 list moves.
        zipf_distance: by perturbation [images], how far the whole ranking moves, if it was kept.
        ece: by corruption or clean, the expected calibration error.
        diagonal: by the shift protocol `diagonal` [frames], the true class's probability.
    """

    wrong: Mapping[Distortion, np.ndarray]
    agreement: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    flips: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    top5_distance: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    zipf_distance: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    ece: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    diagonal: Mapping[Distortion, np.ndarray] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many images the data set has."""
        return len(next(iter(self.wrong.values())))

    @property
    def complete(self) -> bool:
        """Whether everything that counts has been evaluated, which hold-outs do not."""
        return not self.lacking

    @property
    def lacking(self) -> list[Distortion]:
        """The distortions that count and have not been evaluated on every image."""
        return [cell for cell in counted(self.wrong) if np.isnan(self.wrong[cell]).any()]

    def counted(self) -> list[Distortion]:
        """The corruptions that the data set's mean counts."""
        return [cell for cell in counted(self.wrong) if cell.severity]

    def mean_ece(self, cells: Iterable[Distortion]) -> float:
        """The mean of the calibration errors under some distortions."""
        return float(np.mean([self.ece[cell].item() for cell in cells]))


POOLED = ("ece", "diagonal")
"""Outcomes that are of all images together."""
ByKind = Mapping[str, Outcomes]
"""Outcomes on the run's data set of each kind: `corruption`, `perturbation`, `shift`, `clean`."""


@dataclass(frozen=True)
class Model:
    """A model of a run.

    Attributes:
        name: without training seed.
        parameters: how many.
        mean: outcomes averaged over its training seeds, image by image.
        seeds: by name, the outcomes of each network.
    """

    name: str
    parameters: int
    mean: ByKind
    seeds: Mapping[str, ByKind]

    def of_seeds(self, kind: str) -> list[Outcomes]:
        """Each network's outcomes on the data set of a kind."""
        return [seed[kind] for seed in self.seeds.values()]


def read_models(store: Store) -> dict[str, Model]:
    """The models of a run with all their outcomes, in the order of the run."""
    models = {}
    for model, names in groups(store.manifest.models).items():
        seeds = {
            name: {kind: _read(store, name, data) for kind, data in store.kinds().items()}
            for name in names
        }
        mean = {kind: _mean([seed[kind] for seed in seeds.values()]) for kind in store.kinds()}
        parameters = store.manifest.models[names[0]]["parameters"]
        models[model] = Model(model, parameters, mean, seeds)
    return models


def _mean(outcomes: Sequence[Outcomes]) -> Outcomes:
    """Image by image; a cell that any of them lacks is NaN."""
    means = {}
    for of in fields(Outcomes):
        tables = [getattr(outcome, of.name) for outcome in outcomes]
        means[of.name] = {
            cell: np.mean([table[cell] for table in tables], axis=0) for cell in tables[0]
        }
    return Outcomes(**means)


def _read(store: Store, model: str, dataset: str) -> Outcomes:
    tables: dict[str, dict[Distortion, np.ndarray]] = {of.name: {} for of in fields(Outcomes)}
    images = store.manifest.datasets[dataset]["images"]
    for cell in store.cells(dataset):
        of = cell.distortion
        figures = FIGURES[_group(of, store.manifest.keep_ranking)]
        rows = store.read(model, cell, ["image", "frame", *figures.columns])
        if rows is None:
            found = {
                name: np.full(1 if name in POOLED else images, np.nan)
                for name in ("wrong", *figures.names)
            }
        else:
            rows = rows.sort_values(["image", "frame"])
            columns = (_by_image(rows[name], images) for name in figures.columns)
            found = figures.compute(of, *columns)
        for name, values in found.items():
            tables[name][of] = values
    return Outcomes(**tables)


def _by_image(column: pd.Series, images: int) -> np.ndarray:
    """[images, frames], or [images, frames, classes] of rankings."""
    values = np.stack(column.to_list()) if column.name == RANKING else column.to_numpy()
    return values.reshape(images, -1, *values.shape[1:])


class Figures(NamedTuple):
    """What is computed of the predictions for a kind of distortion.

    Attributes:
        columns: of the predictions, [images, frames] each.
        names: of the outcomes beside `wrong`.
        compute: (distortion, *columns) → outcomes by name.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    compute: Callable[..., dict[str, np.ndarray]]


def _of_pictures(
    _of: Distortion, label: np.ndarray, top1: np.ndarray, probability: np.ndarray
) -> dict[str, np.ndarray]:
    right = top1 == label
    error = expected_calibration_error(probability.ravel(), right.ravel())
    return {"wrong": (~right).mean(axis=1), "ece": np.array([error])}


def _of_shifts(of: Distortion, label: np.ndarray, top1: np.ndarray) -> dict[str, np.ndarray]:
    consistency = crop_consistency if of.name == "crops" else circular_consistency
    return {"wrong": (top1 != label).mean(axis=1), "agreement": consistency(top1)}


def _of_diagonal(
    _of: Distortion, label: np.ndarray, top1: np.ndarray, probability: np.ndarray
) -> dict[str, np.ndarray]:
    return {"wrong": (top1 != label).mean(axis=1), "diagonal": probability.mean(axis=0)}


def _of_sequences(of: Distortion, label: np.ndarray, *top: np.ndarray) -> dict[str, np.ndarray]:
    noise = of.compared_with == "first"
    return {
        "wrong": (top[0] != label).mean(axis=1),
        "flips": flip_probability(top[0], noise),
        "top5_distance": top5_distance(np.stack(top, axis=-1), noise),
    }


def _of_rankings(of: Distortion, label: np.ndarray, ranking: np.ndarray) -> dict[str, np.ndarray]:
    top = np.moveaxis(ranking[..., :5].astype(np.int32), -1, 0)
    zipf = zipf_distance(ranking, of.compared_with == "first")
    return _of_sequences(of, label, *top) | {"zipf_distance": zipf}


FIGURES = {
    "pictures": Figures(("label", "top1", "top1_probability"), ("ece",), _of_pictures),
    "shifts": Figures(("label", "top1"), ("agreement",), _of_shifts),
    "diagonal": Figures(("label", "top1", "label_probability"), ("diagonal",), _of_diagonal),
    "sequences": Figures(
        ("label", "top1", "top2", "top3", "top4", "top5"),
        ("flips", "top5_distance"),
        _of_sequences,
    ),
    "rankings": Figures(
        ("label", RANKING), ("flips", "top5_distance", "zipf_distance"), _of_rankings
    ),
}


def _group(of: Distortion, keep_ranking: bool) -> str:
    if of.kind == "perturbation":
        return "rankings" if keep_ranking else "sequences"
    if of.kind == "shift":
        return "diagonal" if of.name == "diagonal" else "shifts"
    return "pictures"
