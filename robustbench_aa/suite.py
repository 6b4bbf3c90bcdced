"""A suite: what to evaluate, read from a TOML file or given by options or in Python."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from pydantic import (
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from robustbench_aa.errors import SuiteError, UnknownName, UsageError
from robustbench_aa.gate import read_rules
from robustbench_aa.support.fields import explain
from robustbench_aa.support.files import read_text
from robustbench_aa.support.toml import line_of

if TYPE_CHECKING:
    from pydantic import ModelWrapValidatorHandler, ValidationInfo
    from pydantic_core import ErrorDetails

    from robustbench_aa.classifier import Classifier
else:

    @runtime_checkable
    class Classifier(Protocol):
        """What a suite needs of a classifier; importing the class itself would import torch."""

        name: str


@runtime_checkable
class DatasetObject(Protocol):
    """A data set that is given in Python instead of a name."""

    @property
    def name(self) -> str:
        """The name in tables and files."""

    def open(self, request: Any) -> Any:
        """Open the data set."""


SHIPPED = Path(__file__).with_name("suites")
MAX_BYTES = 2**20
"""Largest size of a suite's file."""

Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A whole number that fits into 64 bits, as those in `run.json` do."""
Count = Annotated[int, Field(ge=1, lt=2**63)]
CONFIG = ConfigDict(
    strict=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True
)


@dataclass(frozen=True, config=CONFIG)
class Selection:
    """A data set of a suite, with values for this data set alone.

    A value that is left out is the suite's. In Python, a dictionary serves as well, and its `name`
    may be a data set as an object.

    Raises:
        SuiteError: a value has a wrong type or makes no sense.
    """

    name: str
    """Name of the data set."""
    corruptions: Sequence[str] = ()
    """Corruptions to evaluate; `clean` stands for undistorted images."""
    severities: Sequence[Integer] = ()
    """Severities to evaluate, 1 to 5."""
    perturbations: Sequence[str] = ()
    """Perturbations to evaluate."""
    protocols: Sequence[str] = ()
    """Shift protocols to evaluate, such as crops or circular."""
    limit: Count | None = None
    """Largest number of images, evenly spread over the data set."""
    images: str | None = None
    """File that lists the images to evaluate, as CLASS/NAME on each line."""
    dataset: DatasetObject | None = None
    """The data set itself, if it is given in Python instead of a name."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, values: Any, build: ModelWrapValidatorHandler[Selection]) -> Selection:
        try:
            return build(values)
        except ValidationError as error:
            raise _first_of(
                error.errors(include_url=False), "the table", SELECTION_FIELDS
            ) from None


SELECTION_FIELDS: Mapping[str, FieldInfo] = {
    name: field
    for name, field in vars(Selection)["__pydantic_fields__"].items()
    if name != "dataset"
}
"""The keys of a selection by name, with their default, type and description."""
SELECTING = tuple(name for name in SELECTION_FIELDS if name != "name")
"""The fields that a suite and the selections in it share."""


@dataclass(frozen=True, config=CONFIG)
class Suite:
    """Models × data sets × seed.

    `benchmark` evaluates it.

    >>> import robustbench_aa as rb
    >>> rb.Suite(["digits:resnet@lpf3"], ["digits-c", "digits-shift"], limit=100).seed
    0

    Each field is declared here once: it is a key of a suite's TOML file, an argument in Python and,
    but for the name, an option of the command line. The options take their help from the
    docstrings below, and their flags from the strings in `Annotated` or else from the field's name.

    Raises:
        SuiteError: a value has a wrong type or makes no sense.
    """

    models: Annotated[Sequence[str | Classifier], "--model", "-m"]
    """Models to evaluate, as [SHORT=]SOURCE:NAME[@WEIGHTS]."""
    datasets: Annotated[Sequence[str | InstanceOf[Selection] | DatasetObject], "--dataset", "-d"]
    """Data sets to evaluate on, at most one of each kind and those with columns of their own."""
    name: str | None = None
    """Name of the suite and of its run's folder; by default the name of its file."""
    baseline: str | None = None
    """Model of the suite that corruption errors are relative to."""
    seed: Integer = 0
    """Seed of the distortions' randomness."""
    limit: Count | None = None
    """Evaluate at most this many images of each data set, evenly spread."""
    shard_size: Count = 1000
    """Images per prediction file; an interruption costs at most the file in progress."""
    corruptions: Annotated[Sequence[str], "--corruption"] = ()
    """Evaluate only these corruptions; `clean` stands for undistorted images."""
    severities: Annotated[Sequence[Integer], "--severity"] = ()
    """Evaluate only these severities, 1 to 5."""
    perturbations: Annotated[Sequence[str], "--perturbation"] = ()
    """Evaluate only these perturbations, instead of those that a mean flip rate counts."""
    protocols: Annotated[Sequence[str], "--protocol"] = ()
    """Evaluate only these shift protocols, instead of those that a data set has by default."""
    classes: Count | None = None
    """Number of classes, if class folders are named by label and some labels have no folder."""
    unlabelled: bool = False
    """Use photographs without labels, of any folder; errors and accuracies are then left out."""
    data_dir: str | None = None
    """Folder of the data sets' files, instead of the folder in their environment variable."""
    corruption_backend: str = "torch"
    """Implementation that corrupts clean images: torch or imagecorruptions."""
    stored_jpeg: bool = True
    """Encode corrupted photographs as JPEG of quality 85, like ImageNet-C."""
    own_preprocessing: bool = False
    """Resize and crop photographs as the models specify, instead of to 256 and then 224 px."""
    keep_ranking: bool = False
    """Store the order of all classes with each prediction, for the Zipf distance."""
    images: str | None = None
    """File that lists the images to evaluate, as CLASS/NAME on each line."""
    gate: Mapping[str, Mapping[str, float]] | None = None
    """Rules of `robustbench-aa gate`: tables of limits named max_rise, max_fall, min and max."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, values: Any, build: ModelWrapValidatorHandler[Suite]) -> Suite:
        try:
            return build(values)
        except ValidationError as error:
            raise _first_of(error.errors(include_url=False), "the suite", FIELDS) from None

    @field_validator("datasets", mode="before")
    @classmethod
    def _tables(cls, entries: Any) -> Any:
        """Turn the tables among the data sets into selections."""
        if isinstance(entries, Mapping):
            raise ValueError("datasets must be a list; begin each of its tables with [[datasets]]")
        if not isinstance(entries, list | tuple):
            return entries
        place = count()
        return [
            _selection(dict(entry), next(place)) if isinstance(entry, Mapping) else entry
            for entry in entries
        ]

    @field_validator("models", "datasets")
    @classmethod
    def _distinct(
        cls, entries: Sequence[str | Classifier | Selection | DatasetObject], field: ValidationInfo
    ) -> Sequence[str | Classifier | Selection | DatasetObject]:
        noun = "model" if field.field_name == "models" else "data set"
        if not entries:
            raise ValueError(f"nothing to measure: name at least one {noun}")
        names = [entry if isinstance(entry, str) else entry.name for entry in entries]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(f"{noun} {min(repeated)} is named twice; leave one out")
        return entries

    @field_validator("name")
    @classmethod
    def _no_path(cls, name: str | None) -> str | None:
        if name is not None and (name in ("", "..") or name != Path(name).name):
            raise ValueError(f"name {name!r} is a path; use a plain name, as of a folder")
        return name

    @field_validator("gate", mode="before")
    @classmethod
    def _rules(cls, limits: Any) -> Any:
        try:
            read_rules({} if limits is None else limits)
        except UsageError as error:
            raise ValueError(f"gate: {error}") from None
        return limits

    def selections(self) -> list[Selection]:
        """Return every data set with the values that are its own."""
        return [
            entry
            if isinstance(entry, Selection)
            else Selection(entry if isinstance(entry, str) else entry.name)
            for entry in self.datasets
        ]

    def with_values(self, values: Mapping[str, Any]) -> Suite:
        """Return the suite with other values, which also replace those of single data sets."""
        replaced: dict[str, Any] = {
            name: SELECTION_FIELDS[name].default for name in SELECTING if name in values
        }
        datasets = [
            dataclasses.replace(entry, **replaced) if isinstance(entry, Selection) else entry
            for entry in self.datasets
        ]
        return dataclasses.replace(self, **{"datasets": datasets, **values})


FIELDS: Mapping[str, FieldInfo] = vars(Suite)["__pydantic_fields__"]
"""The fields of a suite by name, with their default, type and description."""


def shipped_suites() -> list[str]:
    """Return the names of the suites that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read_suite(name: str) -> Suite:
    """Read a suite by its shipped name or from a path that ends in `.toml`.

    >>> import robustbench_aa as rb
    >>> rb.read_suite("digits").name
    'digits'

    Raises:
        UnknownName: No such suite is shipped.
        SuiteError: The file cannot be read or is no suite; the message names the line.
    """
    if not name.endswith(".toml"):
        if name not in shipped_suites():
            raise UnknownName("suite (a shipped name or a .toml file)", name, shipped_suites())
        return read_suite(str(SHIPPED / f"{name}.toml"))
    path = Path(name)
    try:
        text = read_text(path, MAX_BYTES)
    except OSError as error:
        raise SuiteError(f"cannot read suite {path} ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise SuiteError(f"suite {path} is not UTF-8 text ({error.reason})") from error
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also for an overlong number
        place = str(error).replace("end of document", f"line {text.count(chr(10)) + 1}, its end")
        raise SuiteError(f"suite {path} is not valid TOML: {place}") from error
    try:
        _check_keys(content, FIELDS)
        return Suite(**({"name": path.stem} | content))
    except SuiteError as error:
        known = error.path and error.path[0] in content
        place = f"{path}, line {line_of(text, *error.path)}" if known else f"{path}"
        raise SuiteError(f"{place}: {error}") from None


def _selection(table: dict[str, Any], place: int) -> Selection:
    """Return a table among the data sets as a selection.

    Args:
        table: the keys of the table.
        place: number of tables before it.
    """
    try:
        _check_keys(table, SELECTION_FIELDS)
        dataset = table.get("name")
        if isinstance(dataset, DatasetObject):
            return Selection(**table | {"name": dataset.name, "dataset": dataset})
        return Selection(**table)
    except SuiteError as error:
        name = table.get("name")
        which = f"data set {name}" if isinstance(name, str) else f"table {place + 1} of datasets"
        raise SuiteError(f"{which}: {error}", "datasets", place, *error.path) from None


def _check_keys(table: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> None:
    """Check the keys of a table before a call, as one may be named like a parameter of pydantic."""
    for key in table:
        if key not in fields:
            raise _unknown_key(key, fields)


def _first_of(
    errors: list[ErrorDetails], whole: str, fields: Mapping[str, FieldInfo]
) -> SuiteError:
    """Return the first error as text; missing fields come last, as a misspelt key explains one."""
    missing = [str(error["loc"][0]) for error in errors if error["type"] == "missing"]
    if len(missing) == len(errors):
        return SuiteError(f"{whole} lacks {' and '.join(missing)}")
    error = next(error for error in errors if error["type"] != "missing")
    place = error["loc"][0]  # a number, if the argument was positional
    key = place if isinstance(place, str) else [*fields][place]
    if key not in fields:
        return _unknown_key(key, fields)
    return SuiteError(explain(key, fields[key], error), key)


def _unknown_key(key: str, fields: Mapping[str, FieldInfo]) -> SuiteError:
    if key in FIELDS and fields is SELECTION_FIELDS:
        text = f"{key} is for the whole suite; write it above the tables of data sets"
        return SuiteError(text, key)
    return SuiteError(str(UnknownName("key", key, fields)), key)
