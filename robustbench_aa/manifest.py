"""`run.json`: what a run measures, with which models, on which data, in which environment."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_aa.errors import RunError
from robustbench_aa.types import Classifier

if TYPE_CHECKING:
    from robustbench_aa.datasets import Dataset

SCHEMA_VERSION = 1
"""Of `run.json` and of the prediction files; files of another version are never mixed in."""

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
        environment: versions and device of the latest session.
        keep_ranking: whether predictions hold the order of all classes.
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

    @classmethod
    def read(cls, directory: Path) -> Manifest | None:
        """The manifest of the run in a directory; None where there is no run.

        Raises:
            RunError: `run.json` cannot be read, or is of another version.
        """
        path = directory / "run.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["schema"] == SCHEMA_VERSION:
                return cls(**content)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"{path} is not readable ({error!r}); delete it to start anew"
            ) from error
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

        def refuse(what: str) -> None:
            raise RunError(f"{directory} {what}; choose another --output-dir or delete this one")

        if earlier.suite and self.suite and earlier.suite != self.suite:
            refuse(f"belongs to suite {earlier.suite!r}, not {self.suite!r}")
        if earlier.seed != self.seed:
            refuse(f"was made with seed {earlier.seed}, not {self.seed}")
        if earlier.keep_ranking != self.keep_ranking:
            refuse(f"was made {'with' if earlier.keep_ranking else 'without'} --keep-ranking")
        if earlier.shard_size != self.shard_size:
            refuse(f"was made with shards of {earlier.shard_size} images, not {self.shard_size}")
        for ours, theirs in ((self.models, earlier.models), (self.datasets, earlier.datasets)):
            for name in ours.keys() & theirs.keys():
                changed = [key for key in ours[name] if ours[name][key] != theirs[name].get(key)]
                if changed:
                    refuse(f"holds predictions of {name} with another {', '.join(changed)}")
        return dataclasses.replace(
            self,
            suite=self.suite or earlier.suite,
            baseline=self.baseline or earlier.baseline,
            models=earlier.models | self.models,
            datasets=earlier.datasets | self.datasets,
        )


def model_identity(classifier: Classifier) -> Identity:
    """Everything about a model that its predictions depend on."""
    return {
        "weights_sha256": classifier.weights_sha256,
        "architecture_sha256": hashlib.sha256(classifier.architecture().encode()).hexdigest(),
        "parameters": classifier.parameters,
        "input_size": classifier.input_size,
        "classes": classifier.classes,
        # as JSON gives it back, so that a run is equal to itself read again: lists, no tuples
        "preprocessing": json.loads(json.dumps(dataclasses.asdict(classifier.preprocessing))),
    }


def dataset_identity(dataset: Dataset) -> Identity:
    """Everything about a data set that predictions on it depend on, and all that it defines."""
    return {
        "sha256": dataset.sha256,
        "images": dataset.images,
        "classes": dataset.classes,
        "size": dataset.size,
        "geometry": dataset.geometry,
        "distortions": [
            {**dataclasses.asdict(distortion), "frames": dataset.frames(distortion)}
            for distortion in dataset.distortions
        ],
    }


def environment(device: str) -> dict[str, str]:
    """What else a number could depend on: versions of packages and code, and the device."""
    packages: Iterable[str] = ("robustbench-aa", "torch", "numpy", "pandas", "pyarrow")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: version(package) for package in packages},
        "commit": _commit(),
        "device": device,
    }


def _commit() -> str:
    """The commit of the working copy that the package runs from; empty for an installed one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
