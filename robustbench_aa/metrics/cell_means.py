"""The means of a model's cells, from which aggregates are computed.

A cell is one distortion of a data set. Means are arrays whose leading axes, if any, are images or
resamples of the images, so that the same code computes an aggregate and its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from robustbench_aa.metrics.bootstrap import resampled_means
from robustbench_aa.metrics.per_image import Outcomes, OutcomesByKind, subset_of
from robustbench_aa.metrics.shifts import METRICS_OF_SHIFTS
from robustbench_aa.types import CLEAN, Distortion

Cells = Mapping[Distortion, np.ndarray]
"""Means by cell, [...] each."""


@dataclass(frozen=True)
class CellMeans:
    """The outcomes of a model on one data set, averaged over images.

    Attributes:
        wrong, flips, top5_distance: as in `Outcomes`, without the axis of the images.
        shifts: the metrics of `metrics/shifts.py` by name, each by shift protocol.
        selected, trained_on: as in `Outcomes`.
    """

    wrong: Cells
    flips: Cells = field(default_factory=dict)
    top5_distance: Cells = field(default_factory=dict)
    shifts: Mapping[str, Cells] = field(default_factory=dict)
    selected: Collection[Distortion] | None = None
    trained_on: Collection[str] = ()

    @property
    def subset(self) -> list[Distortion] | None:
        """The distortions of a subset, as `subset_of` returns them; None for a whole data set."""
        others = chain(self.flips, *self.shifts.values())  # images may have no labels
        return subset_of(self.wrong or dict.fromkeys(others), self.selected)

    def selects(self, cell: Distortion) -> bool:
        """Return whether the run asked for a distortion."""
        return self.selected is None or cell in self.selected

    @classmethod
    def of_images(cls, part: Outcomes, change: Callable[[Cells], Cells]) -> CellMeans:
        """Return the outcomes of each image after a change to each table."""
        return cls(
            change(part.wrong),
            change(part.flips),
            change(part.top5_distance),
            {name: change(getattr(part, name)) for name in METRICS_OF_SHIFTS},
            part.selected,
            part.trained_on,
        )


MeansByKind = Mapping[str, CellMeans]
"""Means by kind of data set. A published baseline has only the means that were published."""


def average(outcomes: OutcomesByKind, resampled: bool = False) -> MeansByKind:
    """Return the means of a model's cells over all images.

    Args:
        outcomes: outcomes of each image.
        resampled: whether to return the means over each bootstrap resample of the images instead.
    """

    def averaged(cells: Cells) -> Cells:
        if not resampled or not cells:
            return {cell: np.asarray(values.mean()) for cell, values in cells.items()}
        columns = resampled_means(np.stack(list(cells.values()), axis=1))
        return dict(zip(cells, columns.T, strict=True))

    return {kind: CellMeans.of_images(part, averaged) for kind, part in outcomes.items()}


def clean_error(model: MeansByKind, corrupted_first: bool = False) -> np.ndarray | None:
    """Return the error on clean images; None if a run has no clean images.

    A run may contain clean images twice: as a data set of their own, and as part of a set of
    corrupted images. The data set of their own comes first, in whatever order they were evaluated.

    Args:
        model: means of the model.
        corrupted_first: whether the clean images of the corrupted set come first, which is what a
            relative corruption error compares with. If they are incomplete, the others count.
    """
    sets = [model[kind] for kind in CLEAN_KINDS if kind in model]
    found = [one.wrong[CLEAN] for one in sets if CLEAN in one.wrong and one.selects(CLEAN)]
    if corrupted_first:
        found = [error for error in found[::-1] if not np.isnan(error).any()] or found[::-1]
    return found[0] if found else None


CLEAN_KINDS = ("clean", "corruption")
"""The kinds of data sets that contain clean images."""


def with_role(cells: Cells, role: str) -> list[Distortion]:
    """Return the distortions that have a role in published means."""
    return [cell for cell in cells if cell.role == role and cell != CLEAN]


def whole(means: CellMeans, cells: Iterable[Distortion]) -> list[Distortion]:
    """Return the distortions that the run asked for at all of their severities."""
    names = by_name(cells).values()
    return [cell for same in names if all(map(means.selects, same)) for cell in same]


def by_name(cells: Iterable[Distortion]) -> dict[str, list[Distortion]]:
    """Return the cells of each distortion's name."""
    found: dict[str, list[Distortion]] = {}
    for cell in cells:
        found.setdefault(cell.name, []).append(cell)
    return found


def has_cells(baseline: MeansByKind, kind: str, table: str, cells: Iterable[Distortion]) -> bool:
    """Return whether a baseline has cells in a table of a kind of data set, such as `wrong`."""
    return kind in baseline and set(cells) <= set(getattr(baseline[kind], table))


def stacked_errors(means: CellMeans, cells: Iterable[Distortion]) -> np.ndarray:
    """Return the errors as [..., corruptions, severities]."""
    return np.stack([stacked(means.wrong, same) for same in by_name(cells).values()], axis=-2)


def stacked(cells: Cells, chosen: Iterable[Distortion]) -> np.ndarray:
    """Return the means of the chosen cells along a last axis, [..., chosen]."""
    return np.stack([cells[cell] for cell in chosen], axis=-1)
