"""`run.json`: what a run measures, with which models, on which data, in which environment."""

from __future__ import annotations

import dataclasses
import errno
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustbench_aa.errors import RunError, cause
from robustbench_aa.store.schema import LARGEST, check_run, with_kinds
from robustbench_aa.store.storage import patiently
from robustbench_aa.support.files import read_text

SCHEMA_VERSION = 2
"""Of `run.json` and of the prediction files; files of another version are never mixed in."""

RUN = "run.json"
"""The file of a manifest."""
Identity = dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """The content of `run.json`.

    Attributes:
        suite: the suite's name; None for a run that was put together from flags.
        baseline: the model that figures are normalised by, if any.
        seed: of the distortions' randomness.
        shard_size: images a prediction file.
        models: by name, everything about a model that its predictions depend on.
        datasets: by name, likewise, with all distortions that the data set defines.
        environment: versions, decoders, device and precision of the latest session.
        keep_ranking: whether predictions hold the order of all classes.
        decoded: by data set, the hash of a few of its pictures as they were decoded last.
        command: what started the latest session, as it was typed; None for one from Python.
        profile: seconds by stage of the latest session that measured them.
        subset: whether the latest session was asked for some of the distortions only.

    The environment, the decoded pictures and the command are told, not compared: machines with
    other decoders may share a run, and its report says so.
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

    @classmethod
    def read(cls, directory: Path) -> Manifest | None:
        """The manifest of the run in a directory; None where there is no run.

        Raises:
            RunError: `run.json` cannot be read, or is of another version.
        """
        path = directory / RUN
        try:
            text = patiently(path, lambda: read_text(path, LARGEST))
            content = with_kinds(json.loads(text, parse_constant=_refuse))
            if content["schema"] == SCHEMA_VERSION:
                check_run(content)
                return cls(**content)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in (errno.EFBIG, errno.EINVAL):
                raise _unreadable(path, error) from error
            # nothing is known to be wrong with the file: never advise to give it up
            raise RunError(
                f"{path} cannot be read now ({error.strerror or cause(error)}); when that is "
                "mended, the same command continues"
            ) from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise _unreadable(path, error) from error
        raise RunError(
            f"{path} has schema {content['schema']} and this version writes {SCHEMA_VERSION}; "
            "choose another --output-dir"
        )

    def to_json(self) -> str:
        """The text of `run.json`."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"

    def joined(self, earlier: Manifest, directory: Path) -> Manifest:
        """This manifest as the continuation of an earlier one, whose parts all stay.

        Raises:
            RunError: the two contradict each other, so that predictions would be mixed.
        """
        what = self.contradiction(earlier)
        if earlier.suite and self.suite and earlier.suite != self.suite:
            what = f"belongs to suite {earlier.suite!r}, not {self.suite!r}"
        if what:
            raise RunError(f"{directory} {what}; choose another --output-dir or delete this one")
        return dataclasses.replace(
            self,
            suite=self.suite or earlier.suite,
            baseline=self.baseline or earlier.baseline,
            models=earlier.models | self.models,
            datasets=earlier.datasets | self.datasets,
            decoded=earlier.decoded | self.decoded,
            profile=self.profile or earlier.profile,
        )

    def contradiction(self, other: Manifest) -> str | None:
        """What is said of the other run if its predictions cannot stand beside this one's."""
        if other.seed != self.seed:
            return f"was made with seed {other.seed}, not {self.seed}"
        if other.keep_ranking != self.keep_ranking:
            return f"was made {'with' if other.keep_ranking else 'without'} --keep-ranking"
        if other.shard_size != self.shard_size:
            return f"was made with shards of {other.shard_size} images, not {self.shard_size}"
        for ours, theirs in ((self.models, other.models), (self.datasets, other.datasets)):
            for name in [name for name in ours if name in theirs]:
                one, two = ours[name], theirs[name]
                changed = [key for key in one | two if one.get(key) != two.get(key)]
                if "distortions" in changed:
                    changed = [key for key in changed if key != "distortions"]
                    changed += _changed_distortions(one["distortions"], two["distortions"])
                if changed:
                    return f"holds predictions of {name} with another {', '.join(changed)}"
        return None


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(
        f"{path} is not readable ({cause(error)}); restore it, or choose another --output-dir"
    )


def _changed_distortions(ours: list[Identity], theirs: list[Identity]) -> list[str]:
    """Return what differs between the distortions of two descriptions of a data set, in words."""
    by_name = [{entry["name"]: entry for entry in entries} for entries in (ours, theirs)]
    words = []
    for name in by_name[0].keys() & by_name[1].keys():
        one, two = by_name[0][name], by_name[1][name]
        if one["version"] != two["version"]:
            words.append(f"version of {name} ({two['version']}, not {one['version']})")
        elif one["source"] != two["source"]:
            words.append(f"definition of {name}")
    return sorted(words) or ["list of distortions"]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
