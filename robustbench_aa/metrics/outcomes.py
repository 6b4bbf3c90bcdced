"""What every figure starts from: each model's outcome on each image, read from its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustbench_aa.metrics.consistency import circular_consistency
from robustbench_aa.store import Cell, Store
from robustbench_aa.types import CLEAN, Distortion, groups


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a network, or the mean of several, on one data set.

    Attributes:
        wrong: by distortion [images], the share of each image's frames that are classified
            wrongly. NaN where a cell is not complete.
        agreement: by shift protocol [images], how consistent the classes are under shifts.
    """

    wrong: Mapping[Distortion, np.ndarray]
    agreement: Mapping[Distortion, np.ndarray]

    @property
    def images(self) -> int:
        """How many images the data set has."""
        return len(next(iter(self.wrong.values())))

    @property
    def complete(self) -> bool:
        """Whether every cell that the data set defines has been evaluated."""
        return not any(np.isnan(wrong).any() for wrong in self.wrong.values())

    def counted(self) -> dict[Distortion, np.ndarray]:
        """`wrong` under the corruptions that published means count, not those of family `extra`."""
        return {
            distortion: wrong
            for distortion, wrong in self.wrong.items()
            if distortion.severity is not None and distortion.family != "extra"
        }

    def errors(self) -> pd.DataFrame:
        """E(c, s), the errors under the counted corruptions: corruptions × severities."""
        table = pd.DataFrame()
        for distortion, wrong in self.counted().items():
            table.loc[distortion.name, distortion.severity] = wrong.mean()
        return table


ByKind = Mapping[str, Outcomes]
"""Outcomes on the run's data set of each kind: `corruption`, `shift`, `clean`."""


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


def clean_error(outcomes: ByKind) -> float | None:
    """The error on undistorted images, from the first data set that has them; None for none."""
    for outcome in outcomes.values():
        if CLEAN in outcome.wrong:
            return float(outcome.wrong[CLEAN].mean())
    return None


def _mean(outcomes: Sequence[Outcomes]) -> Outcomes:
    """Image by image; a cell that any of them lacks is NaN."""
    first = outcomes[0]
    return Outcomes(
        {key: np.mean([o.wrong[key] for o in outcomes], axis=0) for key in first.wrong},
        {key: np.mean([o.agreement[key] for o in outcomes], axis=0) for key in first.agreement},
    )


def _read(store: Store, model: str, dataset: str) -> Outcomes:
    wrong, agreement = {}, {}
    images = store.manifest.datasets[dataset]["images"]
    for cell in store.cells(dataset):
        wrong[cell.distortion], consistency = _read_cell(store, model, cell, images)
        if cell.distortion.family == "shift":
            agreement[cell.distortion] = consistency
    return Outcomes(wrong, agreement)


def _read_cell(store: Store, model: str, cell: Cell, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Image by image: the share of wrong frames, and the agreement if the frames are shifts."""
    unknown = np.full(images, np.nan)
    rows = store.read(model, cell, ["image", "frame", "label", "top1"])
    if rows is None:
        return unknown, unknown
    rows = rows.sort_values(["image", "frame"])
    label, top1 = (rows[key].to_numpy().reshape(images, cell.frames) for key in ("label", "top1"))
    agreement = circular_consistency(top1) if cell.distortion.family == "shift" else unknown
    return (top1 != label).mean(axis=1), agreement
