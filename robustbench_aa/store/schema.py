"""The form of `run.json`: what must be in it, so that whatever reads a run can rely on it.

A run may come from anybody. Its names become paths, its numbers become the sizes of arrays, and
its command is shown to be typed: each is checked here, when a run is prepared and when it is read.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from robustbench_aa.types import (
    CLEAN,
    COMPARED_WITH,
    COUNTED_CORRUPTIONS,
    KINDS,
    ROLES,
    Distortion,
    corruption_role,
    kind,
)

LARGEST = 10 * 2**20
"""Bytes of a `run.json`."""
DEEPEST = 8
"""How many objects and lists lie within each other at most."""
LONGEST_NAME = 255
"""Bytes of a folder's name that file systems take."""
IMAGES = 2_000_000
"""Images of a data set; the resamples of a report take 4 kB of memory for each."""
CELLS = 1_000
"""Distortions of a data set."""
PREDICTIONS = 20_000_000
"""Predictions in a file, which is read as a whole."""
RANKED = 500_000_000
"""Classes in the rankings of a file."""
BEYOND = 2**63

Check = Callable[[Any], bool]


def folder_of(name: str) -> str:
    """A name as one folder: what a path cannot carry is percent-encoded."""
    encoded = quote(name, safe=" :@+=,()[]")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def distortion_of(entry: Mapping[str, Any]) -> Distortion:
    """Return the distortion that an entry of a data set describes."""
    return Distortion(**{key: entry[key] for key in DISTORTION if key != "frames"})


def with_kinds(content: Any) -> Any:
    """Return the content of a `run.json`, whose earlier form gave distortions a `family`.

    Whatever else is wrong with it stays, for `check_form` to refuse.
    """
    datasets = content.get("datasets") if isinstance(content, dict) else None
    for dataset in datasets.values() if isinstance(datasets, dict) else ():
        entries = dataset.get("distortions") if isinstance(dataset, dict) else None
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and "family" in entry:
                entry |= _from_family(entry.pop("family"), entry.get("name"))
    return content


def _from_family(family: Any, name: Any) -> dict[str, Any]:
    if family in ("perturbation", "perturbation_extra"):
        role = "counted" if family == "perturbation" else "holdout"
        return {"kind": "perturbation", "group": family, "role": role}
    if family == "shift":
        return {"kind": "shift", "group": "", "role": "counted"}
    if family == "clean":
        return {"kind": "clean", "group": "clean", "role": "counted"}
    return {"kind": "corruption", "group": family, "role": corruption_role(str(name))}


def check_form(content: Mapping[str, Any]) -> None:
    """Checks the content of a `run.json` as JSON gives it.

    Raises:
        ValueError: something is missing, of another type, out of range, or cannot be measured;
            names it.
    """
    if not _is_shallow(content, DEEPEST):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    json.dumps(content, ensure_ascii=False).encode()  # halves of characters are no text
    _check_entries("it", content, RUN)
    for name, of in content["models"].items():
        _check_name("model", name, slashes=True)
        _check_entries(f"model {name}", of, MODEL)
    for name, of in content["datasets"].items():
        _check_name("data set", name)
        _check_entries(f"data set {name}", of, DATASET)
        _check_entries(f"labels of data set {name}", of["labels"], LABELS)
        _check_distortions(f"data set {name}", of["distortions"])
        _check_size(f"data set {name}", content, of)


def _whole(low: int, high: int = BEYOND - 1) -> Check:
    # type() rather than isinstance(): true and false are ints to Python, not to a reader
    return lambda value: type(value) is int and low <= value <= high


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_text_or_none(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_command(value: Any) -> bool:
    """Whether it is a command line of this program alone, as one is written to be typed again."""
    if value is None:
        return True
    try:
        words = shlex.split(value)
    except (ValueError, AttributeError, TypeError):
        return False
    return words[:1] == ["robustbench-aa"] and shlex.join(words) == value


def _is_table(of: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(of, value.values()))


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < BEYOND


RUN: Mapping[str, Check] = {
    "suite": _is_text_or_none,
    "baseline": _is_text_or_none,
    "seed": _whole(-BEYOND),
    "shard_size": _whole(1),
    "models": lambda value: isinstance(value, dict) and len(value) > 0,
    "datasets": lambda value: isinstance(value, dict) and len(value) > 0,
    "environment": _is_table(lambda value: isinstance(value, str)),
    "keep_ranking": lambda value: isinstance(value, bool),
    "decoded": _is_table(lambda value: isinstance(value, str)),
    "command": _is_command,
    "profile": _is_table(_is_seconds),
    "subset": lambda value: isinstance(value, bool),
}
MODEL: Mapping[str, Check] = {"parameters": _whole(0), "classes": _whole(1, 2**16)}
DATASET: Mapping[str, Check] = {
    "sha256": _is_text,
    "images": _whole(1, IMAGES),
    "collection": _is_text,
    "classes": _whole(1, 2**31 - 1),
    "labels": lambda value: isinstance(value, dict) and set(value) == set(LABELS),
    "pixels": _is_text,
    "size": _whole(1, 2**16),
    "geometry": _is_text,
    "distortions": lambda value: isinstance(value, list) and 0 < len(value) <= CELLS,
}
LABELS: Mapping[str, Check] = {"rule": _is_text, "present": _whole(1, 2**31 - 1)}
DISTORTION: Mapping[str, Check] = {
    "kind": lambda value: value in KINDS,
    "name": _is_text,
    "severity": lambda value: value is None or _whole(1, 5)(value),
    "group": _is_text,
    "role": lambda value: value in ROLES,
    "compared_with": lambda value: value in COMPARED_WITH,
    "version": lambda value: value is None or _whole(1)(value),
    "source": _is_text,
    "frames": _whole(1, 2**15 - 1),
}
OPTIONAL = ("keep_ranking", "decoded", "command", "profile", "subset")
"""What may be left out."""


def _check_entries(where: str, content: Any, form: Mapping[str, Check]) -> None:
    if not isinstance(content, dict):
        raise ValueError(f"{where} is not an object")
    for key, fits in form.items():
        if key not in content:
            if key not in OPTIONAL:
                raise ValueError(f"{where} lacks {key}")
        elif not fits(content[key]):
            raise ValueError(f"{where} has {key} {_told(content[key])}, which cannot be")


def _check_name(noun: str, name: str, slashes: bool = False) -> None:
    """Checks that a name is one that can be printed, and one folder's."""
    fits = _is_text(name) and name == name.strip() and name
    if not fits or len(folder_of(name)) > LONGEST_NAME:
        raise ValueError(f"{_told(name)} is no name of a {noun}")
    if not slashes and (name.startswith(".") or "/" in name or "\\" in name):
        raise ValueError(f"{_told(name)} is no name of a {noun}, but a path")


def _check_distortions(where: str, entries: Iterable[Any]) -> None:
    """Checks that figures can be computed of them."""
    found: dict[Distortion, int] = {}
    names = set()
    for entry in entries:
        _check_entries(f"a distortion of {where}", entry, DISTORTION)
        _check_name("distortion", entry["name"])
        cell = distortion_of(entry)
        if str(cell) in names:
            raise ValueError(f"{where} has {cell} twice")
        graded = cell.kind == "corruption"
        if graded != (cell.severity is not None) or (cell.kind == "clean") != (cell == CLEAN):
            raise ValueError(f"{where} has {cell} of the kind {cell.kind}, which cannot be")
        if graded and cell.role != corruption_role(cell.name):
            raise ValueError(f"{where} has {cell} with the role {cell.role}, which cannot be")
        names.add(str(cell))
        found[cell] = entry["frames"]
    kinds = {kind([cell]) for cell in found} - {"clean"}
    if len(kinds) > 1:
        raise ValueError(f"{where} mixes {' and '.join(sorted(kinds))}")
    if "shift" in kinds:
        _check_shifts(where, found)
    elif kinds:
        _check_counted(where, found)


def _check_shifts(where: str, found: Mapping[Distortion, int]) -> None:
    if not {"circular", "crops"} & {cell.name for cell in found}:
        raise ValueError(f"{where} has no shifts that are compared")
    if any(cell.name == "crops" and frames % 2 for cell, frames in found.items()):
        raise ValueError(f"{where} has crops that are no pairs")


def _check_counted(where: str, found: Mapping[Distortion, int]) -> None:
    severities: dict[str, dict[str, set[int | None]]] = {}
    for cell, frames in found.items():
        if cell.kind == "perturbation" and frames < 2:
            raise ValueError(f"{where} has sequences of {cell} of a single frame")
        if cell.kind != "clean":
            of = severities.setdefault(cell.role, {})
            of.setdefault(cell.name, set()).add(cell.severity)
    ragged = any(
        of != next(iter(part.values())) for part in severities.values() for of in part.values()
    )
    if ragged or set(severities) == {"holdout"}:
        raise ValueError(f"{where} has no distortions at the same severities to take a mean of")
    counted = severities.get("counted", {})
    if any(cell.severity for cell in found) and counted and len(counted) < len(COUNTED_CORRUPTIONS):
        lacking = [name for name in COUNTED_CORRUPTIONS if name not in counted]
        raise ValueError(
            f"{where} has {len(counted)} of the {len(COUNTED_CORRUPTIONS)} corruptions of a mean "
            f"error; it lacks {', '.join(lacking)}"
        )


def _check_size(where: str, run: Mapping[str, Any], of: Mapping[str, Any]) -> None:
    frames = max(entry["frames"] for entry in of["distortions"])
    predictions = min(of["images"], run["shard_size"]) * frames
    classes = max(model["classes"] for model in run["models"].values())
    ranked = predictions * classes if run.get("keep_ranking") else 0
    if predictions > PREDICTIONS or ranked > RANKED:
        raise ValueError(f"{where} has {predictions:,} predictions in a file; use a shard_size")


def _is_shallow(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    within = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in within)


def _told(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
