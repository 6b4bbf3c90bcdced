"""What every figure starts from: each model's outcome on each image, read from its predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from robustbench_aa.metrics.calibration import expected_calibration_error
from robustbench_aa.metrics.consistency import circular_consistency
from robustbench_aa.store import Store
from robustbench_aa.types import CLEAN, Distortion, groups

COLUMNS = ("label", "top1", "top1_probability")


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a network, or the mean of several, on one data set.

    Attributes:
        wrong: by distortion [images], the share of each image's frames that are classified
            wrongly. NaN where a cell is not complete.
        agreement: by shift protocol [images], how consistent the classes are under shifts.
        ece: by any other distortion, the expected calibration error.
    """

    wrong: Mapping[Distortion, np.ndarray]
    agreement: Mapping[Distortion, np.ndarray] = field(default_factory=dict)
    ece: Mapping[Distortion, float] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many images the data set has."""
        return len(next(iter(self.wrong.values())))

    @property
    def complete(self) -> bool:
        """Whether every cell that the data set defines has been evaluated."""
        return not any(np.isnan(wrong).any() for wrong in self.wrong.values())

    def counted(self) -> list[Distortion]:
        """The corruptions that published means count: not those of family `extra`."""
        return [cell for cell in self.wrong if cell.severity and cell.family != "extra"]

    def held_out(self) -> list[Distortion]:
        """The corruptions of family `extra`."""
        return [cell for cell in self.wrong if cell.family == "extra"]

    def errors(self, cells: Iterable[Distortion]) -> pd.DataFrame:
        """E(c, s), the errors under corruptions: corruptions × severities."""
        table = pd.DataFrame()
        for cell in cells:
            table.loc[cell.name, cell.severity] = self.wrong[cell].mean()
        return table

    def mean_ece(self, cells: Iterable[Distortion]) -> float:
        """The mean of the calibration errors under some distortions."""
        return float(np.mean([self.ece[cell] for cell in cells]))


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
        {key: float(np.mean([o.ece[key] for o in outcomes])) for key in first.ece},
    )


def _read(store: Store, model: str, dataset: str) -> Outcomes:
    wrong: dict[Distortion, np.ndarray] = {}
    agreement: dict[Distortion, np.ndarray] = {}
    ece: dict[Distortion, float] = {}
    images = store.manifest.datasets[dataset]["images"]
    for cell in store.cells(dataset):
        of = cell.distortion
        rows = store.read(model, cell, ["image", "frame", *COLUMNS])
        if rows is None:
            wrong[of] = np.full(images, np.nan)
            if of.family == "shift":
                agreement[of] = wrong[of]
            else:
                ece[of] = np.nan
            continue
        rows = rows.sort_values(["image", "frame"])
        label, top1, probability = (
            rows[column].to_numpy().reshape(images, cell.frames) for column in COLUMNS
        )
        wrong[of] = (top1 != label).mean(axis=1)
        if of.family == "shift":
            agreement[of] = circular_consistency(top1)
        else:
            ece[of] = expected_calibration_error(probability.ravel(), (top1 == label).ravel())
    return Outcomes(wrong, agreement, ece)
