"""The figures of a model, from the means of its cells over images or over resamples of them.

Everything is computed on arrays whose leading axes, if any, are resamples, so that a figure and
its interval come from the same lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from robustbench_aa.metrics import corruption_error as ce
from robustbench_aa.metrics.flip_rate import mean_rate
from robustbench_aa.metrics.intervals import resampled_means
from robustbench_aa.metrics.outcomes import ByKind, Outcomes
from robustbench_aa.types import CLEAN, Distortion

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

    def counted(self, of: str) -> list[Distortion]:
        """The cells of a figure that published means count."""
        return [cell for cell in getattr(self, of) if not cell.held_out and cell != CLEAN]


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


def _of_corruptions(model: ModelMeans, baselines: Mapping[str, ModelMeans]) -> Figures:
    corrupted = model["corruption"]
    counted = corrupted.counted("wrong")
    found: Figures = {"mean_error": ce.mean_error(_errors(corrupted, counted))}
    for name, baseline in baselines.items():
        relative = _relative_to_errors(model, baseline)
        found |= {f"{figure}_{name}": value for figure, value in relative.items()}
    held_out = [cell for cell in corrupted.wrong if cell.held_out]
    if held_out:
        found["holdout_error"] = ce.mean_error(_errors(corrupted, held_out))
    return found


def _of_perturbations(perturbed: Means, baselines: Mapping[str, ModelMeans]) -> Figures:
    counted = perturbed.counted("flips")
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
    if not _has(baseline, "corruption", "wrong", model["corruption"].counted("wrong")):
        return {}
    each = corruption_errors(model, baseline)
    return {AGGREGATES[figure]: ce.mean_of(values) for figure, values in each.items()}


def _relative_to_flips(perturbed: Means, baseline: ModelMeans) -> Figures:
    found: Figures = {}
    counted = perturbed.counted("flips")
    for figure, of in (("mfr", "flips"), ("mt5d", "top5_distance")):
        if _has(baseline, "perturbation", of, counted):
            theirs = _stacked(getattr(baseline["perturbation"], of), counted)
            found[figure] = mean_rate(_stacked(getattr(perturbed, of), counted), theirs)
    return found


AGGREGATES = {"ce": "mce", "relative_ce": "relative_mce"}
"""What the mean over corruptions is called."""


def corruption_errors(model: ModelMeans, baseline: ModelMeans) -> Figures:
    """`ce` and, where clean images were measured on both sides, `relative_ce`.

    [..., corruptions], in the order of the data set's counted corruptions.
    """
    ours, theirs = model["corruption"], baseline["corruption"]
    counted = ours.counted("wrong")
    errors, base = _errors(ours, counted), _errors(theirs, counted)
    found = {"ce": ce.corruption_error(errors, base)}
    clean, base_clean = clean_error(model), clean_error(baseline)
    if clean is not None and base_clean is not None:
        found["relative_ce"] = ce.relative_corruption_error(errors, clean, base, base_clean)
    return found


def normalised(model: ModelMeans, baseline: ModelMeans) -> dict[tuple[str, str], np.ndarray]:
    """What the aggregates are means of: `ce`, `relative_ce`, `fr` and `t5d` by distortion, [...].

    In percent of the baseline's, as far as it has the cells.
    """
    found: dict[tuple[str, str], np.ndarray] = {}
    if "corruption" in model:
        counted = model["corruption"].counted("wrong")
        names = dict.fromkeys(cell.name for cell in counted)
        if _has(baseline, "corruption", "wrong", counted):
            for figure, values in corruption_errors(model, baseline).items():
                found |= {(figure, name): values[..., i] for i, name in enumerate(names)}
    if perturbed := model.get("perturbation"):
        counted = perturbed.counted("flips")
        for figure, of in (("fr", "flips"), ("t5d", "top5_distance")):
            if not _has(baseline, "perturbation", of, counted):
                continue
            ours, theirs = getattr(perturbed, of), getattr(baseline["perturbation"], of)
            for cell in counted:
                # the mean rate over a single perturbation is that perturbation's
                rate = mean_rate(ours[cell][..., None], theirs[cell][..., None])
                found[figure, cell.name] = rate
    return found


def clean_error(model: ModelMeans) -> np.ndarray | None:
    """The error on undistorted images, from the first data set that has them; None for none."""
    for of in model.values():
        if CLEAN in of.wrong:
            return of.wrong[CLEAN]
    return None


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
