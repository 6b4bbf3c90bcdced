"""The cells that a suite asks for: chosen corruptions, severities, perturbations and protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from robustbench_aa.datasets import Dataset
from robustbench_aa.distortions.severities import check_severity
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.suite import SELECTING, Selection, Suite
from robustbench_aa.types import CLEAN, PHOTOGRAPHS, Distortion, is_default


class Choice(NamedTuple):
    """A field of a suite that chooses distortions.

    Attributes:
        kind: kind of the distortions.
        noun: word for one of them.
        flag: option of the command line.
    """

    kind: str
    noun: str
    flag: str


CHOICES: Mapping[str, Choice] = {
    "corruptions": Choice("corruption", "corruption", "--corruption"),
    "severities": Choice("corruption", "corruption", "--severity"),
    "perturbations": Choice("perturbation", "perturbation", "--perturbation"),
    "protocols": Choice("shift", "shift protocol", "--protocol"),
}
"""By field of a suite and of a selection."""


def selections(suite: Suite, datasets: Mapping[str, Dataset]) -> dict[str, Selection]:
    """Return the values that apply to each data set: its own, or else those of the suite.

    The suite's values apply to every data set that has distortions of their kind.

    Raises:
        UsageError: a data set has none of the distortions that it should be limited to, or the
            suite's values apply to no data set.
    """
    found = {}
    for selection in suite.selections():
        dataset = datasets[selection.name]
        values = {name: getattr(selection, name) for name in SELECTING}
        for name, choice in CHOICES.items():
            if values[name] and not _has(dataset, choice):
                raise UsageError(
                    f"data set {selection.name} has no {choice.noun}s to choose from; leave out "
                    f"its {name}"
                )
            if not values[name] and _has(dataset, choice):
                values[name] = getattr(suite, name)
        found[selection.name] = Selection(selection.name, **values)
    for name, choice in CHOICES.items():
        if getattr(suite, name):
            _check_effect(suite, name, choice, datasets)
    return found


def chosen(suite: Suite, datasets: Mapping[str, Dataset]) -> dict[str, list[Distortion]]:
    """Return the distortions of each data set that a suite asks for.

    Raises:
        UnknownName: a data set has no such distortion.
        UsageError: a request cannot be met, for example because files are missing.
    """
    has_clean = any(CLEAN in dataset.distortions for dataset in datasets.values())
    found = {}
    for name, selection in selections(suite, datasets).items():
        found[name] = _chosen(selection, datasets[name], has_clean)
        _check_files(found[name], datasets[name])
    return found


def default(dataset: Dataset) -> list[Distortion]:
    """Return the distortions of a data set that are evaluated unless others are chosen."""
    return [distortion for distortion in dataset.distortions if is_default(distortion)]


def _has(dataset: Dataset, choice: Choice) -> bool:
    return any(distortion.kind == choice.kind for distortion in dataset.distortions)


def _check_effect(suite: Suite, name: str, choice: Choice, datasets: Mapping[str, Dataset]) -> None:
    """Check that a value of the suite applies to a data set."""
    those = [one.name for one in suite.selections() if _has(datasets[one.name], choice)]
    clean = any(CLEAN in dataset.distortions for dataset in datasets.values())
    if not those and clean and list(getattr(suite, name)) == [CLEAN.name]:
        return
    if not those:
        raise UsageError(
            f"{' and '.join(datasets)} has no {choice.noun}s to choose from; leave out "
            f"{choice.flag}, or add a data set"
        )
    if all(getattr(one, name) for one in suite.selections() if one.name in those):
        raise UsageError(
            f"the suite's {name} have no effect, since {' and '.join(those)} has its own; leave "
            "out either"
        )


def _chosen(selection: Selection, dataset: Dataset, has_clean: bool) -> list[Distortion]:
    """Return the distortions of a data set that a selection asks for.

    Args:
        has_clean: whether any data set of the suite has clean images.
    """
    if selection.corruptions or selection.severities:
        return _chosen_corruptions(selection, dataset, has_clean)
    for names, noun in (
        (selection.perturbations, "perturbation"),
        (selection.protocols, "shift protocol"),
    ):
        if names:
            known = {distortion.name: distortion for distortion in dataset.distortions}
            _check_names(noun, names, known, dataset)
            return [distortion for name, distortion in known.items() if name in names]
    return default(dataset)


def _chosen_corruptions(
    selection: Selection, dataset: Dataset, has_clean: bool
) -> list[Distortion]:
    """Return the corruptions that a selection names, at its severities, and clean if named."""
    corruptions = [one for one in dataset.distortions if one.kind == "corruption"]
    names = dict.fromkeys(one.name for one in corruptions)
    named = [name for name in selection.corruptions if name != CLEAN.name]
    clean = CLEAN.name in selection.corruptions
    if clean and not has_clean:
        raise UsageError(_no_clean(dataset))
    _check_names("corruption", named, names, dataset)
    severities = dict.fromkeys(one.severity for one in corruptions)
    for severity in selection.severities:
        check_severity(severity)
        if severity not in severities:
            known = ", ".join(map(str, severities))
            raise UsageError(f"data set {dataset.name} has no severity {severity}; it has {known}")
    found = [
        one
        for one in dataset.distortions
        if (clean and one == CLEAN)
        or (
            one.kind == "corruption"
            and one.name in (named or ([] if clean else names))
            and one.severity in (selection.severities or severities)
        )
    ]
    if not found:
        raise UsageError(
            f"data set {dataset.name} has no clean images, and nothing else is asked of it; leave "
            "it out"
        )
    return found


def _no_clean(dataset: Dataset) -> str:
    remedy = "choose a data set that distorts clean images itself"
    if dataset.collection == PHOTOGRAPHS:
        remedy = "add the data set image-folder, whose images are clean"
    return f"data set {dataset.name} has no clean images; {remedy}, or leave out clean"


def _check_names(noun: str, names: Sequence[str], known: Iterable[str], dataset: Dataset) -> None:
    """Check that a data set has the distortions that a selection names."""
    choices = list(known)
    for name in names:
        if name not in choices:
            raise UnknownName(f"{noun} of {dataset.name}", name, choices)


def _check_files(asked: Sequence[Distortion], dataset: Dataset) -> None:
    """Check that the files of the chosen distortions are there."""
    missing = [distortion for distortion in asked if distortion in dataset.missing]
    if missing:
        others = f" nor {len(missing) - 1} more" if len(missing) > 1 else ""
        flags = {choice.kind: choice.flag for choice in reversed([*CHOICES.values()])}
        raise UsageError(
            f"{dataset.name} has no {dataset.missing[missing[0]]}{others}; fetch what is missing "
            f"or name what is there by {flags.get(missing[0].kind, '--corruption')}"
        )
