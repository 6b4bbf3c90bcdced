"""A suite: what to measure. Read from a TOML file or put together from flags."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_aa.errors import SuiteError, UnknownName
from robustbench_aa.support.files import read_text

if TYPE_CHECKING:
    from robustbench_aa.types import Classifier

SHIPPED = Path(__file__).with_name("suites")
LARGEST = 2**20
"""Bytes of a suite's file."""
BEYOND = 2**63
"""Whole numbers are smaller, as they are in `run.json`."""


@dataclass(frozen=True)
class Suite:
    """Models × data sets × seed.

    Attributes:
        models: specifications `SOURCE:NAME[@WEIGHTS]`, or classifiers of one's own.
        datasets: names of data sets; at most one of a kind (corruptions, shifts, clean).
        name: None when it was put together from flags; its run's folder is called by it.
        baseline: the model that CE is relative to; None for no normalised figures.
        seed: of the distortions' randomness.
        limit: measure at most this many images of each data set; None for all.
        shard_size: images a prediction file; what an interruption can cost at most.
        corruptions: measure only these; empty for all that the data sets define.
        severities: measure only these; empty for all.
        perturbations: measure only these; empty for those that a mean flip rate counts.
        classes: how many classes there are, where class folders are numbers with gaps; each number
            is then a label.
        data_dir: the folder of data sets that are files; None for their environment variables.
        corruption_backend: what corrupts clean images, `torch` or `imagecorruptions`.
        stored_jpeg: whether corrupted photographs go through a JPEG of quality 85 at last, as
            those of ImageNet-C did.
        own_preprocessing: whether photographs are resized and cropped as the models' own
            preprocessing says, instead of as ImageNet-C's were (256, then 224).
        keep_ranking: whether predictions hold the order of all classes, for the Zipf distance.
    """

    models: Sequence[str | Classifier]
    datasets: Sequence[str]
    name: str | None = None
    baseline: str | None = None
    seed: int = 0
    limit: int | None = None
    shard_size: int = 1000
    corruptions: Sequence[str] = ()
    severities: Sequence[int] = ()
    perturbations: Sequence[str] = ()
    classes: int | None = None
    data_dir: str | None = None
    corruption_backend: str = "torch"
    stored_jpeg: bool = True
    own_preprocessing: bool = False
    keep_ranking: bool = False

    def __post_init__(self) -> None:
        for noun, things in (("model", self.models), ("data set", self.datasets)):
            if not things:
                raise SuiteError(f"nothing to measure: name at least one {noun}")
            names = [thing if isinstance(thing, str) else thing.name for thing in things]
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise SuiteError(f"{noun} {min(twice)} is named twice; leave one out")
        if self.name in ("", "..") or self.name != (self.name and Path(self.name).name):
            raise SuiteError(
                f"name {self.name!r} is a path; use a name, which a folder is called by"
            )
        for noun in ("limit", "shard_size", "classes"):
            number = getattr(self, noun)
            if number is not None and number < 1:
                raise SuiteError(f"{noun} {number} leaves nothing to measure; use at least 1")


def shipped_suites() -> list[str]:
    """The names of the suites that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read_suite(name: str) -> Suite:
    """Reads a suite by its shipped name or from a path that ends in `.toml`.

    Raises:
        UnknownName: no such suite is shipped.
        SuiteError: the file cannot be read or is no suite; the message tells the line.
    """
    if not name.endswith(".toml"):
        if name not in shipped_suites():
            raise UnknownName("suite (a shipped name or a .toml file)", name, shipped_suites())
        return read_suite(str(SHIPPED / f"{name}.toml"))
    path = Path(name)
    try:
        text = read_text(path, LARGEST)
    except OSError as error:
        raise SuiteError(f"cannot read suite {path} ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise SuiteError(f"suite {path} is not UTF-8 text ({error.reason})") from error
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers of thousands of digits
        place = str(error).replace("end of document", f"line {text.count(chr(10)) + 1}, its end")
        raise SuiteError(f"suite {path} is not valid TOML: {place}") from error
    for key, value in content.items():
        _check_entry(f"{path}, line {_line(text, key)}", key, value)
    missing = [f.name for f in fields(Suite) if f.default is MISSING and f.name not in content]
    if missing:
        raise SuiteError(f"{path} lacks {' and '.join(missing)}")
    try:
        return Suite(**({"name": path.stem} | content))
    except SuiteError as error:
        raise SuiteError(f"{path}: {error}") from error


_FORMS: dict[str, tuple[type[Any], type[Any] | None, str]] = {
    "name": (str, None, "a string"),
    "models": (list, str, "a list of strings"),
    "datasets": (list, str, "a list of strings"),
    "baseline": (str, None, "a string"),
    "seed": (int, None, "a whole number"),
    "limit": (int, None, "a whole number"),
    "shard_size": (int, None, "a whole number"),
    "corruptions": (list, str, "a list of strings"),
    "severities": (list, int, "a list of whole numbers"),
    "perturbations": (list, str, "a list of strings"),
    "classes": (int, None, "a whole number"),
    "data_dir": (str, None, "a string"),
    "corruption_backend": (str, None, "a string"),
    "stored_jpeg": (bool, None, "true or false"),
    "own_preprocessing": (bool, None, "true or false"),
    "keep_ranking": (bool, None, "true or false"),
}


def _check_entry(place: str, key: str, value: Any) -> None:
    if key not in _FORMS:
        raise SuiteError(f"{place}: {UnknownName('key', key, _FORMS)}")
    kind, item, told = _FORMS[key]
    # type() rather than isinstance(): true and false are ints to Python, not to a reader
    if type(value) is not kind or (item and any(type(entry) is not item for entry in value)):
        raise SuiteError(f"{place}: {key} must be {told}, not {_told(value)}")
    if kind is int and not -BEYOND <= value < BEYOND:
        raise SuiteError(f"{place}: {key} must be {told} of 64 bits")


def _told(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"


def _line(text: str, key: str) -> int:
    """The line on which a top-level key stands."""
    match = re.search(rf"^[ \t\[]*[\"']?{re.escape(key)}\b", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else 1
