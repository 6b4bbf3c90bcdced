"""The schema of a data set in `run.json`, and the checks that metrics can be computed with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isqrt
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from robustbench_aa.support import files
from robustbench_aa.types import (
    CLEAN,
    COMPARED_WITH,
    COUNTED_CORRUPTIONS,
    KINDS,
    NO_LABELS,
    ROLES,
    Distortion,
    corruption_role,
    kind,
    unshifted,
)

LONGEST_NAME = 255
"""The longest name of a folder on usual file systems, in bytes."""
ENTRIES = 1_000
"""The largest number of entries of a table, such as the environment."""
IMAGES = 2_000_000
"""The largest number of images of a data set; a report's resamples take 4 kB of memory for each."""
CELLS = 1_000
"""The largest number of distortions of a data set."""
UNLABELLED_KINDS = {"perturbation", "shift"}
"""The kinds of distortions with metrics that need no labels."""
BEYOND = 2**63
"""The first whole number beyond 64 bits."""


def folder_of(name: str) -> str:
    """Return the name of a folder for any name, percent-encoded where a path requires it."""
    encoded = quote(name, safe=" @+=,()[]" if files.WINDOWS else " :@+=,()[]")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it has characters that cannot be printed")
    return value


def _one_of(*choices: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"it should be one of {', '.join(choices)}")
        return value

    return AfterValidator(check)


def few(value: Any) -> Any:
    """Check the size of a table before pydantic collects the errors of all entries."""
    if isinstance(value, dict) and len(value) > ENTRIES:
        raise ValueError(f"it has more than {ENTRIES:,} entries")
    return value


Text = Annotated[str, AfterValidator(_printable)]
Count = Annotated[int, Field(ge=1, lt=2**31)]


class SchemaEntry(BaseModel):
    """An object of `run.json`; types are not converted, and `true` is not a number."""

    model_config = ConfigDict(strict=True)


class LabelsEntry(SchemaEntry):
    """How images are labelled."""

    model_config = ConfigDict(extra="forbid")

    rule: Text
    present: int = Field(ge=0, lt=2**31)


class DistortionEntry(SchemaEntry):
    """A distortion of a data set."""

    kind: Annotated[str, _one_of(*KINDS)]
    name: Text
    severity: Annotated[int, Field(ge=1, le=5)] | None
    group: Text
    role: Annotated[str, _one_of(*ROLES)]
    compared_with: Annotated[str, _one_of(*COMPARED_WITH)]
    version: Annotated[int, Field(ge=1, lt=BEYOND)] | None
    source: Text
    frames: int = Field(ge=1, lt=2**15)


class ScoringEntry(SchemaEntry):
    """The class rule of a data set whose metrics have columns of their own."""

    model_config = ConfigDict(extra="forbid")

    column: Annotated[str, Field(pattern="^[a-z0-9_]*$", max_length=LONGEST_NAME)]
    rule: Text
    classes: Count | None
    left_out: int = Field(ge=0, lt=BEYOND)


class DatasetDescription(SchemaEntry):
    """A data set with all distortions that it defines."""

    sha256: Text
    images: int = Field(ge=1, le=IMAGES)
    collection: Text
    classes: int = Field(ge=0, lt=2**31)
    labels: Annotated[LabelsEntry, BeforeValidator(few)]
    pixels: Text
    size: int = Field(ge=1, le=2**16)
    geometry: Text
    scoring: ScoringEntry | None = None
    image_list_sha256: Text = ""
    distortions: list[DistortionEntry] = Field(min_length=1, max_length=CELLS)


_DISTORTION = tuple(name for name in DistortionEntry.model_fields if name != "frames")


def distortion_of(entry: Mapping[str, Any]) -> Distortion:
    """Return the distortion that an entry of a data set describes."""
    return Distortion(**{name: entry[name] for name in _DISTORTION})


def check_dataset(where: str, dataset: DatasetDescription) -> None:
    """Check that metrics can be computed with a data set.

    Args:
        where: the data set in messages.
        dataset: its entry.

    Raises:
        ValueError: they cannot; names the data set.
    """
    _check_distortions(where, dataset.distortions)
    _check_labels(where, dataset)


def check_name(noun: str, name: str, slashes: bool = False) -> None:
    """Check that a name can be printed, and can be the name of one folder."""
    valid = name and name.isprintable() and name == name.strip()
    if not valid or len(folder_of(name)) > LONGEST_NAME:
        raise ValueError(f"{shown(name)} cannot be the name of a {noun}")
    if not slashes and (name.startswith(".") or "/" in name or "\\" in name):
        raise ValueError(f"{shown(name)} cannot be the name of a {noun}, since it is a path")


def _check_distortions(where: str, entries: Iterable[DistortionEntry]) -> None:
    """Check that metrics can be computed with the distortions of a data set."""
    found: dict[Distortion, int] = {}
    names = set()
    for entry in entries:
        check_name("distortion", entry.name)
        cell = distortion_of(vars(entry))
        if str(cell) in names:
            raise ValueError(f"{where} has {cell} twice")
        graded = cell.kind == "corruption"
        if graded != (cell.severity is not None) or (cell.kind == "clean") != (cell == CLEAN):
            raise ValueError(f"{where} has {cell} of the kind {cell.kind!r}")
        if graded and cell.role != corruption_role(cell.name):
            raise ValueError(f"{where} has {cell} with the role {cell.role!r}")
        names.add(str(cell))
        found[cell] = entry.frames
    kinds = {kind([cell]) for cell in found} - {"clean"}
    if len(kinds) > 1:
        raise ValueError(f"{where} mixes {' and '.join(sorted(kinds))}")
    if "shift" in kinds:
        _check_shifts(where, found)
    elif kinds:
        _check_counted(where, found)


def _check_labels(where: str, dataset: DatasetDescription) -> None:
    """Check that images without labels have no classes, and distortions to measure without them."""
    unlabelled = dataset.labels.rule == NO_LABELS
    counts = dataset.classes, dataset.labels.present
    if any(unlabelled == bool(count) for count in counts):
        raise ValueError(f"{where} has {counts[0]} classes, {counts[1]} of them with images")
    if unlabelled and not {entry.kind for entry in dataset.distortions} <= UNLABELLED_KINDS:
        raise ValueError(f"{where} has no labels, but distortions whose metrics need them")


def _check_shifts(where: str, found: Mapping[Distortion, int]) -> None:
    """Check that the frames of shifts can be compared with each other, or with an unshifted one."""
    for cell, frames in found.items():
        if cell.name in ("crops", "circular32") and frames % 2:
            raise ValueError(f"{where} has {cell.name} that do not come in pairs")
        if frames < 2:
            raise ValueError(f"{where} has no pairs of shifts to compare")
        square = cell.name != "circular" or isqrt(frames) ** 2 == frames
        if unshifted(cell, frames) is not None and not (frames % 2 and square):
            raise ValueError(f"{where} has {cell} without a frame in the middle")


def _check_counted(where: str, found: Mapping[Distortion, int]) -> None:
    severities: dict[str, dict[str, set[int | None]]] = {}
    for cell, frames in found.items():
        if cell.kind == "perturbation" and frames < 2:
            raise ValueError(f"{where} has sequences of {cell} with a single frame")
        if cell.kind == "perturbation" and cell.role == "other":
            raise ValueError(f"{where} has {cell} as 'other'; a perturbation counts or is held out")
        if cell.kind != "clean":
            names = severities.setdefault(cell.role, {})
            names.setdefault(cell.name, set()).add(cell.severity)
    ragged = any(
        levels != next(iter(names.values()))
        for names in severities.values()
        for levels in names.values()
    )
    if ragged or set(severities) == {"holdout"}:
        raise ValueError(f"{where} has no distortions at the same severities for a mean")
    counted = severities.get("counted", {})
    if any(cell.severity for cell in found) and counted and len(counted) < len(COUNTED_CORRUPTIONS):
        lacking = [name for name in COUNTED_CORRUPTIONS if name not in counted]
        raise ValueError(
            f"{where} has {len(counted)} of the {len(COUNTED_CORRUPTIONS)} corruptions of a mean "
            f"error; it lacks {', '.join(lacking)}"
        )


def shown(value: Any) -> str:
    """Return a value for a message."""
    return cut(repr(value))


def cut(text: str) -> str:
    """Return a text for a message, shortened."""
    return text if len(text) <= 80 else f"{text[:80]}…"
