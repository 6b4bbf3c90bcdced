"""The manifest of a run, `run.json`: models, data sets, settings and environment."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustbench_aa.errors import RunError, cause
from robustbench_aa.store.dataset_schema import distortion_of
from robustbench_aa.store.schema import LARGEST, check_run
from robustbench_aa.store.storage import patiently
from robustbench_aa.support.files import read_text
from robustbench_aa.types import is_default

SCHEMA_VERSION = 2
"""The schema version of `run.json` and of prediction files; versions are never mixed."""
RUN = "run.json"
"""The name of the manifest's file."""
JOINED = " + "
"""Between the names of several suites."""
RECORDED = ("conversion", "fine_tuned", "trained_on")
"""Keys of a model's identity that are recorded but not compared."""
Identity = dict[str, Any]
"""Everything about a model or a data set that predictions depend on, as JSON."""


@dataclass(frozen=True)
class Manifest:
    """The content of `run.json`.

    Attributes:
        suite: the name of the suite, or of all suites that were evaluated into the run, joined by
            `+`; None for a run without a suite file.
        baseline: the model that metrics are normalised by, if any.
        seed: the seed of the distortions.
        shard_size: number of images in a prediction file.
        models: the identity of each model, by name.
        datasets: the identity of each data set, by name, with all distortions that it defines.
        environment: versions, decoders, device and precision of the latest session.
        keep_ranking: whether predictions hold the order of all classes.
        schema: the schema version.
        decoded: the SHA-256 of a few decoded images of each data set, from the latest session.
        command: the command line of the latest session; None for a session in Python.
        profile: seconds of each stage in the latest session that measured them.
        subset: whether the latest session asked for only some of the cells in `selected`.
        selected: by data set, the distortions that any session asked for. A data set without an
            entry was asked for as a whole.
        limits: by data set, the number of images to which it was limited.
        specifications: the specification of each model that has a short name.

    The environment, the decoded images, the command and the specifications are recorded but not
    compared: machines with different decoders may share a run, and its report shows the difference.
    """

    suite: str | None
    baseline: str | None
    seed: int
    shard_size: int
    models: dict[str, Identity]
    datasets: dict[str, Identity]
    environment: dict[str, str]
    keep_ranking: bool = False
    schema: int = SCHEMA_VERSION
    decoded: dict[str, str] = field(default_factory=dict)
    command: str | None = None
    profile: dict[str, float] = field(default_factory=dict)
    subset: bool = False
    selected: dict[str, list[str]] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    specifications: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> Manifest | None:
        """Return the manifest of the run in a directory, or None if there is no run.

        Raises:
            RunError: `run.json` cannot be read, or has another schema version.
        """
        path = directory / RUN
        try:
            text = patiently(path, lambda: read_text(path, LARGEST))
            content = json.loads(text, parse_constant=_refuse)
            if content["schema"] == SCHEMA_VERSION:
                check_run(content)
                return cls(**content)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in (errno.EFBIG, errno.EINVAL):
                raise _unreadable(path, error) from error
            # the file itself may be fine, so the message must not advise to abandon the run
            raise RunError(
                f"{path} cannot be read now ({error.strerror or cause(error)}); fix this, then "
                "run the same command again"
            ) from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise _unreadable(path, error) from error
        raise RunError(
            f"{path} has schema {content['schema']}, but this version needs {SCHEMA_VERSION}; "
            "choose another --output-dir"
        )

    def to_json(self) -> str:
        """Return the text of `run.json`."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"

    def joined(self, earlier: Manifest, directory: Path) -> Manifest:
        """Return this manifest joined with an earlier one of the same run.

        Args:
            earlier: the earlier manifest; all its models and data sets stay.
            directory: the run's directory, for error messages.

        Raises:
            RunError: the manifests contradict each other.
        """
        if reason := self.contradiction(earlier):
            raise RunError(f"{directory} {reason}; choose another --output-dir or delete this one")
        selected = _union(earlier, self)
        part = any(
            set(self.selected[name]) != set(selected.get(name, ())) for name in self.selected
        )
        return dataclasses.replace(
            self,
            suite=_both(earlier.suite, self.suite),
            baseline=self.baseline or earlier.baseline,
            models=earlier.models | self.models,
            datasets=earlier.datasets | self.datasets,
            decoded=earlier.decoded | self.decoded,
            profile=self.profile or earlier.profile,
            subset=self.subset or part,
            selected=selected,
            limits=earlier.limits | self.limits,
            specifications=earlier.specifications | self.specifications,
        )

    def restricted(self, datasets: Iterable[str]) -> Manifest:
        """Return the manifest with some of its data sets alone."""
        kept = set(datasets)
        parts: dict[str, Any] = {
            name: {key: value for key, value in getattr(self, name).items() if key in kept}
            for name in ("datasets", "decoded", "selected", "limits")
        }
        return dataclasses.replace(self, **parts)

    def without(self, models: Iterable[str]) -> Manifest:
        """Return the manifest without some of its models."""
        left_out = set(models)
        parts: dict[str, Any] = {
            name: {key: value for key, value in getattr(self, name).items() if key not in left_out}
            for name in ("models", "specifications")
        }
        return dataclasses.replace(self, **parts)

    def check_names(self, earlier: Manifest, directory: Path) -> None:
        """Check that a new name is not one of a model that an earlier manifest has already.

        Raises:
            RunError: the same model, with the same specification and identity, has another name.
        """
        held = {earlier.specification(name): name for name in earlier.models}
        for name in [name for name in self.models if name not in earlier.models]:
            other = held.get(self.specification(name))
            if other is not None and earlier.models[other] == self.models[name]:
                raise RunError(
                    f"{directory} holds {self.specification(name)} as {other!r}, not {name!r}; "
                    f"name it {other!r}, or choose another --output-dir"
                )

    def specification(self, name: str) -> str:
        """Return the specification of a model, which is its name unless it has a short one."""
        return self.specifications.get(name, name)

    def contradiction(self, other: Manifest) -> str | None:
        """Return why predictions of another run cannot be mixed with this one's, or None."""
        if other.seed != self.seed:
            return f"was made with seed {other.seed}, not {self.seed}"
        if other.keep_ranking != self.keep_ranking:
            return f"was made {'with' if other.keep_ranking else 'without'} --keep-ranking"
        if other.shard_size != self.shard_size:
            return f"was made with shards of {other.shard_size} images, not {self.shard_size}"
        for ours, theirs in ((self.models, other.models), (self.datasets, other.datasets)):
            for name in [name for name in ours if name in theirs]:
                one, two = ours[name], theirs[name]
                keys = [key for key in one | two if key not in RECORDED]
                changed = [key for key in keys if one.get(key) != two.get(key)]
                if "distortions" in changed:
                    changed = [key for key in changed if key != "distortions"]
                    changed += _changed_distortions(one["distortions"], two["distortions"])
                if changed:
                    return f"holds predictions of {name} with another {', '.join(changed)}"
        return None

    def other_data(self, other: Manifest) -> str | None:
        """Return how the data of another run differ from this one's, or None if they are equal."""
        return self.contradiction(
            dataclasses.replace(
                other, models={}, shard_size=self.shard_size, keep_ranking=self.keep_ranking
            )
        )


def _union(one: Manifest, other: Manifest) -> dict[str, list[str]]:
    """Return the distortions that either session asked for, of data sets that are not whole."""
    found = {}
    for name in one.datasets | other.datasets:
        parts = [part for part in (one, other) if name in part.datasets]
        lists = [part.selected[name] for part in parts if name in part.selected]
        if lists and len(lists) < len(parts):  # a session without a selection asked for the default
            cells = [distortion_of(entry) for entry in parts[0].datasets[name]["distortions"]]
            default = {str(cell): is_default(cell) for cell in cells}
            chosen = {cell for cells in lists for cell in cells}
            lists = [[cell for cell, usual in default.items() if usual or cell in chosen]]
            if all(default[cell] for cell in lists[0]):
                continue
        if lists:
            found[name] = [*dict.fromkeys(cell for cells in lists for cell in cells)]
    return found


def _both(*suites: str | None) -> str | None:
    """Return the names of suites as one; a run may have been continued with another suite."""
    names = [name for suite in suites if suite for name in suite.split(JOINED)]
    return JOINED.join(dict.fromkeys(names)) or None


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(
        f"{path} is not readable ({cause(error)}); restore it, or choose another --output-dir"
    )


def _changed_distortions(ours: list[Identity], theirs: list[Identity]) -> list[str]:
    """Return phrases for the differences between the distortions of two data sets."""
    by_name = [{entry["name"]: entry for entry in entries} for entries in (ours, theirs)]
    changes = []
    for name in by_name[0].keys() & by_name[1].keys():
        one, two = by_name[0][name], by_name[1][name]
        if one["version"] != two["version"]:
            changes.append(f"version of {name} ({two['version']}, not {one['version']})")
        elif one["source"] != two["source"]:
            changes.append(f"definition of {name}")
    return sorted(changes) or ["list of distortions"]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")
