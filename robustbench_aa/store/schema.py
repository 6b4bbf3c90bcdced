"""The schema of `run.json`, so that every reader of a run can rely on its content.

A run may come from anybody. Its names become paths, its numbers become sizes of arrays, and its
command is shown for others to type. All are checked when a run is prepared and when it is read.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError

from robustbench_aa.store.dataset_schema import (
    BEYOND,
    CELLS,
    Count,
    DatasetDescription,
    SchemaEntry,
    Text,
    check_dataset,
    check_name,
    cut,
    distortion_of,
    few,
    shown,
)

LARGEST = 10 * 2**20
"""The largest size of a `run.json`, in bytes."""
DEEPEST = 8
"""The largest number of objects and lists nested in each other."""
PREDICTIONS = 20_000_000
"""The largest number of predictions in a file, which is read as a whole."""
RANKED = 500_000_000
"""The largest number of classes in all rankings of a file."""


def _own_command(value: str) -> str:
    """Check that a text is one command line of this program, quoted as `shlex.join` does."""
    words = shlex.split(value)
    if words[:1] != ["robustbench-aa"] or shlex.join(words) != value:
        raise ValueError("it is not a command line of robustbench-aa")
    return value


Cells = Annotated[list[Text], Field(min_length=1, max_length=CELLS)]
Texts = Annotated[dict[str, str], BeforeValidator(few)]
Seconds = Annotated[float, Field(ge=0, lt=BEYOND)]


class RunEntry(SchemaEntry):
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
    decoded: Texts = Field(default_factory=dict)
    command: Annotated[str, AfterValidator(_own_command)] | None = None
    profile: Annotated[dict[str, Seconds], BeforeValidator(few)] = Field(default_factory=dict)
    subset: bool = False
    selected: Annotated[dict[str, Cells], BeforeValidator(few)] = Field(default_factory=dict)
    limits: Annotated[dict[str, Count], BeforeValidator(few)] = Field(default_factory=dict)
    specifications: dict[str, Text] = Field(default_factory=dict)


class ModelEntry(SchemaEntry):
    """The part of a model's identity that reports rely on."""

    parameters: int = Field(ge=0, lt=BEYOND)
    classes: int = Field(ge=1, le=2**16)
    trained_on: Annotated[list[Text], Field(max_length=CELLS)] = Field(default_factory=list)


Entry = TypeVar("Entry", bound=SchemaEntry)


def check_run(content: Mapping[str, Any]) -> None:
    """Check the content of a `run.json`, as JSON gives it.

    Raises:
        ValueError: an entry is missing, of another type or out of range, or no metric can be
            computed; names the entry.
    """
    if not _is_shallow(content, DEEPEST):
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    json.dumps(content, ensure_ascii=False).encode()  # refuses half surrogate pairs
    run = _checked(RunEntry, few(content))
    unknown = [name for name in run.specifications if name not in run.models]
    if unknown:
        raise ValueError(f"specifications: {shown(unknown[0])} is no model of the run")
    classes = 0
    for name, model in run.models.items():
        check_name("model", name, slashes=True)
        classes = max(classes, _checked(ModelEntry, model, f"model {name}").classes)
    for name, entry in run.datasets.items():
        check_name("data set", name)
        where = f"data set {name}"
        dataset = _checked(DatasetDescription, entry, where)
        check_dataset(where, dataset)
        _check_size(where, run, dataset, classes)
        known = {str(distortion_of(vars(each))) for each in dataset.distortions}
        unknown = [cell for cell in run.selected.get(name, ()) if cell not in known]
        if unknown:
            raise ValueError(f"selected.{name} has {shown(unknown[0])}, which {where} does not")
    for name in [*run.selected, *run.limits]:
        if name not in run.datasets:
            raise ValueError(f"{shown(name)} is selected or limited, but not in datasets")


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
        problem = f"is {shown(first['input'])}, but it should be an object"
    else:
        reason = first["msg"].removeprefix("Value error, ").removesuffix(" after validation, not 0")
        reason = re.sub(r"^(Input|List|Dictionary)\b", "it", reason)
        problem = f"is {shown(first['input'])}, but {reason}"
    raise ValueError(f"{': '.join(filter(None, (where, cut(place))))} {problem}")


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
