"""The schema of `run.json`, so that every reader of a run can rely on its content.

A run may come from anybody. Its names become paths, its numbers become sizes of arrays, and its
command is shown for others to type. All are checked when a run is prepared and when it is read.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from math import isqrt
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from robustbench_aa.support import files
from robustbench_aa.types import (
    CLEAN,
    COMPARED_WITH,
    COUNTED_CORRUPTIONS,
    KINDS,
    ROLES,
    Distortion,
    corruption_role,
    kind,
    unshifted,
)

LARGEST = 10 * 2**20
"""The largest size of a `run.json`, in bytes."""
DEEPEST = 8
"""The largest number of objects and lists nested in each other."""
LONGEST_NAME = 255
"""The longest name of a folder on usual file systems, in bytes."""
ENTRIES = 1_000
"""The largest number of entries of a table, such as the environment."""
IMAGES = 2_000_000
"""The largest number of images of a data set; a report's resamples take 4 kB of memory for each."""
CELLS = 1_000
"""The largest number of distortions of a data set."""
PREDICTIONS = 20_000_000
"""The largest number of predictions in a file, which is read as a whole."""
RANKED = 500_000_000
"""The largest number of classes in all rankings of a file."""
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


def _own_command(value: str) -> str:
    """Check that a text is one command line of this program, quoted as `shlex.join` does."""
    words = shlex.split(value)
    if words[:1] != ["robustbench-aa"] or shlex.join(words) != value:
        raise ValueError("it is not a command line of robustbench-aa")
    return value


def _one_of(*choices: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"it should be one of {', '.join(choices)}")
        return value

    return AfterValidator(check)


def _few(value: Any) -> Any:
    """Check the size of a table before pydantic collects the errors of all entries."""
    if isinstance(value, dict) and len(value) > ENTRIES:
        raise ValueError(f"it has more than {ENTRIES:,} entries")
    return value


Text = Annotated[str, AfterValidator(_printable)]
Cells = Annotated[list[Text], Field(min_length=1, max_length=CELLS)]
Texts = Annotated[dict[str, str], BeforeValidator(_few)]
Seconds = Annotated[float, Field(ge=0, lt=BEYOND)]
Count = Annotated[int, Field(ge=1, lt=2**31)]


class _Entry(BaseModel):
    """An object of `run.json`; types are not converted, and `true` is not a number."""

    model_config = ConfigDict(strict=True)


class RunEntry(_Entry):
    """The whole `run.json`; models and data sets are checked one by one."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = Field(alias="schema")
    suite: Text | None
    baseline: Text | None
    seed: int = Field(ge=-BEYOND, lt=BEYOND)
    shard_size: int = Field(ge=1, lt=BEYOND)
    models: dict[str, Any] = Field(min_length=1)
    datasets: dict[str, Any] = Field(min_length=1)
    environment: Texts
    keep_ranking: bool = False
    decoded: Texts = {}
    command: Annotated[str, AfterValidator(_own_command)] | None = None
    profile: Annotated[dict[str, Seconds], BeforeValidator(_few)] = {}
    subset: bool = False
    selected: Annotated[dict[str, Cells], BeforeValidator(_few)] = {}
    limits: Annotated[dict[str, Count], BeforeValidator(_few)] = {}
    specifications: dict[str, Text] = {}


class ModelEntry(_Entry):
    """The part of a model's identity that reports rely on."""

    parameters: int = Field(ge=0, lt=BEYOND)
    classes: int = Field(ge=1, le=2**16)
    trained_on: Annotated[list[Text], Field(max_length=CELLS)] = []


class LabelsEntry(_Entry):
    """How images are labelled."""

    model_config = ConfigDict(extra="forbid")

    rule: Text
    present: Count


class DistortionEntry(_Entry):
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


class DatasetDescription(_Entry):
    """A data set with all distortions that it defines."""

    sha256: Text
    images: int = Field(ge=1, le=IMAGES)
    collection: Text
    classes: Count
    labels: Annotated[LabelsEntry, BeforeValidator(_few)]
    pixels: Text
    size: int = Field(ge=1, le=2**16)
    geometry: Text
    distortions: list[DistortionEntry] = Field(min_length=1, max_length=CELLS)


Entry = TypeVar("Entry", bound=_Entry)
_DISTORTION = tuple(name for name in DistortionEntry.model_fields if name != "frames")


def distortion_of(entry: Mapping[str, Any]) -> Distortion:
    """Return the distortion that an entry of a data set describes."""
    return Distortion(**{name: entry[name] for name in _DISTORTION})


def check_run(content: Mapping[str, Any]) -> None:
    """Check the content of a `run.json`, as JSON gives it.

    Raises:
        ValueError: an entry is missing, of another type or out of range, or no metric can be
            computed; names the entry.
    """
    if not _is_shallow(content, DEEPEST):
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    json.dumps(content, ensure_ascii=False).encode()  # refuses half surrogate pairs
    run = _checked(RunEntry, _few(content))
    unknown = [name for name in run.specifications if name not in run.models]
    if unknown:
        raise ValueError(f"specifications: {_shown(unknown[0])} is no model of the run")
    classes = 0
    for name, model in run.models.items():
        _check_name("model", name, slashes=True)
        classes = max(classes, _checked(ModelEntry, model, f"model {name}").classes)
    for name, entry in run.datasets.items():
        _check_name("data set", name)
        where = f"data set {name}"
        dataset = _checked(DatasetDescription, entry, where)
        _check_distortions(where, dataset.distortions)
        _check_size(where, run, dataset, classes)
        known = {str(distortion_of(vars(each))) for each in dataset.distortions}
        unknown = [cell for cell in run.selected.get(name, ()) if cell not in known]
        if unknown:
            raise ValueError(f"selected.{name} has {_shown(unknown[0])}, which {where} does not")
    for name in [*run.selected, *run.limits]:
        if name not in run.datasets:
            raise ValueError(f"{_shown(name)} is selected or limited, but not in datasets")


def _checked(kind_of: type[Entry], content: Any, where: str = "") -> Entry:
    """Return an entry of a schema; the first error becomes one line that names its place."""
    try:
        return kind_of.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        problem = "is missing"
    elif first["type"] == "extra_forbidden":
        problem = "is not a known entry"
    elif first["type"] in ("model_type", "dict_type"):
        problem = f"is {_shown(first['input'])}, but it should be an object"
    else:
        reason = first["msg"].removeprefix("Value error, ").removesuffix(" after validation, not 0")
        reason = re.sub(r"^(Input|List|Dictionary)\b", "it", reason)
        problem = f"is {_shown(first['input'])}, but {reason}"
    raise ValueError(f"{': '.join(filter(None, (where, _cut(place))))} {problem}")


def _check_name(noun: str, name: str, slashes: bool = False) -> None:
    """Check that a name can be printed, and can be the name of one folder."""
    valid = name and name.isprintable() and name == name.strip()
    if not valid or len(folder_of(name)) > LONGEST_NAME:
        raise ValueError(f"{_shown(name)} cannot be the name of a {noun}")
    if not slashes and (name.startswith(".") or "/" in name or "\\" in name):
        raise ValueError(f"{_shown(name)} cannot be the name of a {noun}, since it is a path")


def _check_distortions(where: str, entries: Iterable[DistortionEntry]) -> None:
    """Check that metrics can be computed with the distortions of a data set."""
    found: dict[Distortion, int] = {}
    names = set()
    for entry in entries:
        _check_name("distortion", entry.name)
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


def _check_size(where: str, run: RunEntry, dataset: DatasetDescription, classes: int) -> None:
    """Check that a prediction file fits into memory.

    Args:
        classes: the largest number of classes of a model.
    """
    frames = max(entry.frames for entry in dataset.distortions)
    predictions = min(dataset.images, run.shard_size) * frames
    ranked = predictions * classes if run.keep_ranking else 0
    if predictions > PREDICTIONS or ranked > RANKED:
        raise ValueError(
            f"{where} has {predictions:,} predictions in a file; use a smaller shard_size"
        )


def _is_shallow(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    within = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in within)


def _shown(value: Any) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"
