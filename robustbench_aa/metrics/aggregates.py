"""The figures of a model, from the means of its cells over images or over resamples of them.

Everything is computed on arrays whose leading axes, if any, are resamples, so that a figure and
its interval come from the same lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from robustbench_aa.metrics import corruption_error as ce
from robustbench_aa.metrics.bootstrap import resampled_means
from robustbench_aa.metrics.flip_rate import mean_rate
from robustbench_aa.metrics.per_image import ByKind, Outcomes
from robustbench_aa.types import CLEAN, COUNTED_CORRUPTIONS, HOLDOUT_CORRUPTIONS, Distortion

Cells = Mapping[Distortion, np.ndarray]
"""The means of some cells, [...] each."""
Figures = dict[str, np.ndarray]
"""Figures by name, [...] each, in the order of the leaderboard's columns."""


@dataclass(frozen=True)
class Means:
    """A model's outcomes on one data set, averaged over images.

    Attributes:
        wrong, agreement, flips, top5_distance: as in `Outcomes`, without the images' axis.
    """

    wrong: Cells
    agreement: Cells = field(default_factory=dict)
    flips: Cells = field(default_factory=dict)
    top5_distance: Cells = field(default_factory=dict)

    def with_role(self, of: str, role: str) -> list[Distortion]:
        """The distortions of a metric's cells that have a role in published means."""
        return [cell for cell in getattr(self, of) if cell.role == role and cell != CLEAN]


ModelMeans = Mapping[str, Means]
"""Means on the run's data set of each kind; a published baseline has those that were published."""


def means(outcomes: ByKind, resampled: bool = False) -> ModelMeans:
    """The means of a model's cells over all images, or over each resample of them."""

    def averaged(cells: Mapping[Distortion, np.ndarray]) -> Cells:
        if not resampled or not cells:
            return {cell: np.asarray(values.mean()) for cell, values in cells.items()}
        columns = resampled_means(np.stack(list(cells.values()), axis=1))
        return dict(zip(cells, columns.T, strict=True))

    def of_kind(of: Outcomes) -> Means:
        return Means(
            *(averaged(cells) for cells in (of.wrong, of.agreement, of.flips, of.top5_distance))
        )

    return {kind: of_kind(of) for kind, of in outcomes.items()}


def figures(model: ModelMeans, baselines: Mapping[str, ModelMeans]) -> Figures:
    """Every figure of a model.

    Args:
        baselines: by name, what the normalised figures are relative to.
    """
    found: Figures = {}
    clean = clean_error(model)
    if clean is not None:
        found["clean_error"] = clean
    if "corruption" in model:
        found |= _of_corruptions(model, baselines)
    if "perturbation" in model:
        found |= _of_perturbations(model["perturbation"], baselines)
    if shifted := model.get("shift"):
        for cell, agreement in shifted.agreement.items():
            found[f"consistency_{cell.name}"] = agreement
    return found


MEAN_ERRORS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "mean_error": ("counted", COUNTED_CORRUPTIONS),
    "holdout_error": ("holdout", HOLDOUT_CORRUPTIONS),
    "mean_error_other": ("other", ()),
}
"""Mean errors by name: the role of the corruptions that each is over, and which those must be.

The published means are over their published corruptions, always; a set that has only some of them
has no such mean. `mean_error_other` is over whatever else a data set has.
"""


def _of_corruptions(model: ModelMeans, baselines: Mapping[str, ModelMeans]) -> Figures:
    corrupted = model["corruption"]
    found: Figures = {}
    for figure, (role, names) in MEAN_ERRORS.items():
        cells = corrupted.with_role("wrong", role)
        if cells:
            mean = ce.mean_error(_errors(corrupted, cells))
            whole = not names or {cell.name for cell in cells} == set(names)
            found[figure] = mean if whole else np.full_like(mean, np.nan)
        if figure == "mean_error":
            for name, baseline in baselines.items():
                relative = _relative_to_errors(model, baseline)
                found |= {f"{of}_{name}": value for of, value in relative.items()}
    return found


def _of_perturbations(perturbed: Means, baselines: Mapping[str, ModelMeans]) -> Figures:
    counted = perturbed.with_role("flips", "counted")
    found: Figures = {"mean_flip_probability": _stacked(perturbed.flips, counted).mean(axis=-1)}
    of_each = {
        name: _relative_to_flips(perturbed, baseline) for name, baseline in baselines.items()
    }
    for figure in ("mfr", "mt5d"):
        for name, of in of_each.items():
            if figure in of:
                found[f"{figure}_{name}"] = of[figure]
    return found


def relative_figures(model: ModelMeans, baseline: ModelMeans) -> Figures:
    """The normalised aggregates `mce`, `relative_mce`, `mfr` and `mt5d`, without their baseline.

    As far as both sides have what they are made of.
    """
    found: Figures = {}
    if "corruption" in model:
        found |= _relative_to_errors(model, baseline)
    if "perturbation" in model:
        found |= _relative_to_flips(model["perturbation"], baseline)
    return found


def _relative_to_errors(model: ModelMeans, baseline: ModelMeans) -> Figures:
    counted = model["corruption"].with_role("wrong", "counted")
    whole = {cell.name for cell in counted} == set(COUNTED_CORRUPTIONS)
    if not whole or not _has(baseline, "corruption", "wrong", counted):
        return {}
    each = corruption_errors(model, baseline, counted)
    return {AGGREGATES[figure]: ce.mean_of(values) for figure, values in each.items()}


def _relative_to_flips(perturbed: Means, baseline: ModelMeans) -> Figures:
    found: Figures = {}
    counted = perturbed.with_role("flips", "counted")
    for figure, of in (("mfr", "flips"), ("mt5d", "top5_distance")):
        if _has(baseline, "perturbation", of, counted):
            theirs = _stacked(getattr(baseline["perturbation"], of), counted)
            found[figure] = mean_rate(_stacked(getattr(perturbed, of), counted), theirs)
    return found


AGGREGATES = {"ce": "mce", "relative_ce": "relative_mce"}
"""What the mean over corruptions is called."""


def corruption_errors(
    model: ModelMeans, baseline: ModelMeans, cells: Sequence[Distortion]
) -> Figures:
    """Return `ce` and, where clean images were measured on both sides, `relative_ce`.

    Args:
        cells: corruptions at all severities, which both sides have.

    Returns:
        [..., corruptions] each, in the order of the cells.
    """
    errors, base = (_errors(of["corruption"], cells) for of in (model, baseline))
    found = {"ce": ce.corruption_error(errors, base)}
    clean, base_clean = (clean_error(of, of_corrupted=True) for of in (model, baseline))
    if clean is not None and base_clean is not None:
        found["relative_ce"] = ce.relative_corruption_error(errors, clean, base, base_clean)
    return found


def normalised(model: ModelMeans, baseline: ModelMeans) -> dict[tuple[str, str], np.ndarray]:
    """Return `ce`, `relative_ce`, `fr` and `t5d` by distortion, [...], in percent of a baseline's.

    They are of the distortions that published means count and of those that are beside them, not
    of hold-outs, as far as the baseline has them.
    """
    found: dict[tuple[str, str], np.ndarray] = {}
    if "corruption" in model:
        for role in ("counted", "other"):
            cells = model["corruption"].with_role("wrong", role)
            if cells and _has(baseline, "corruption", "wrong", cells):
                names = list(dict.fromkeys(cell.name for cell in cells))
                for figure, values in corruption_errors(model, baseline, cells).items():
                    found |= {(figure, name): values[..., i] for i, name in enumerate(names)}
    if perturbed := model.get("perturbation"):
        counted = perturbed.with_role("flips", "counted")
        for figure, of in (("fr", "flips"), ("t5d", "top5_distance")):
            if not _has(baseline, "perturbation", of, counted):
                continue
            ours, theirs = getattr(perturbed, of), getattr(baseline["perturbation"], of)
            for cell in counted:
                # the mean rate over a single perturbation is that perturbation's
                rate = mean_rate(ours[cell][..., None], theirs[cell][..., None])
                found[figure, cell.name] = rate
    return dict(sorted(found.items(), key=lambda item: FIGURES_BY_DISTORTION.index(item[0][0])))


FIGURES_BY_DISTORTION = ("ce", "relative_ce", "fr", "t5d")


def clean_error(model: ModelMeans, of_corrupted: bool = False) -> np.ndarray | None:
    """Return the error on undistorted images; None where none were measured.

    A run may measure them twice, alone and as part of a set of corruptions. The order of the
    measurements does not matter: the error is that on the set of clean images where there is one.

    Args:
        of_corrupted: whether the clean forms of the corrupted images come first, which a relative
            corruption error is about.
    """
    sets = [model[kind].wrong for kind in CLEAN_FROM if kind in model]
    found = [wrong[CLEAN] for wrong in sets if CLEAN in wrong]
    if of_corrupted:
        found = [of for of in found[::-1] if not np.isnan(of).any()] or found[::-1]
    return found[0] if found else None


CLEAN_FROM = ("clean", "corruption")
"""The kinds of data sets that have clean images; the first one that a run has tells its error."""


def _has(baseline: ModelMeans, kind: str, of: str, cells: Iterable[Distortion]) -> bool:
    return kind in baseline and set(cells) <= set(getattr(baseline[kind], of))


def _errors(of: Means, cells: Iterable[Distortion]) -> np.ndarray:
    """[..., corruptions, severities]."""
    by_name: dict[str, list[np.ndarray]] = {}
    for cell in cells:
        by_name.setdefault(cell.name, []).append(of.wrong[cell])
    return np.stack([np.stack(of_one, axis=-1) for of_one in by_name.values()], axis=-2)


def _stacked(cells: Cells, chosen: Iterable[Distortion]) -> np.ndarray:
    return np.stack([cells[cell] for cell in chosen], axis=-1)
