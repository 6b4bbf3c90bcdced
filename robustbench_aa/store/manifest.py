"""`run.json`: what a run measures, with which models, on which data, in which environment."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_aa.errors import DatasetError, RunError, cause
from robustbench_aa.store.schema import LARGEST, check_form, with_kinds
from robustbench_aa.store.storage import patiently
from robustbench_aa.support.files import read_text
from robustbench_aa.types import Classifier, Shard

if TYPE_CHECKING:
    from robustbench_aa.datasets import Dataset

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
                check_form(content)
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

    def made_here(
        self, datasets: Mapping[str, Dataset], device: str, inference: Mapping[str, str]
    ) -> Manifest:
        """This manifest with what predictions of this process are made with.

        Args:
            datasets: by name, whose decoded pictures are told.
            device: a torch device.
            inference: what is told of how frames go through models.
        """
        decoded = {name: decoded_sha256(dataset) for name, dataset in datasets.items()}
        return dataclasses.replace(
            self,
            environment=environment(device) | dict(inference),
            decoded=self.decoded | decoded,
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


def model_identity(classifier: Classifier) -> Identity:
    """Everything about a model that its predictions depend on."""
    return {
        "weights_sha256": classifier.weights_sha256,
        "source_sha256": classifier.source_sha256,
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
        "collection": dataset.collection,
        "classes": dataset.classes,
        "labels": dataclasses.asdict(dataset.labels),
        "pixels": dataset.pixels,
        "size": dataset.size,
        "geometry": dataset.geometry,
        "distortions": [
            {**dataclasses.asdict(distortion), "frames": dataset.frames(distortion)}
            for distortion in dataset.distortions
        ],
    }


def decoded_sha256(dataset: Dataset) -> str:
    """Of the first, middle and last image under the first distortion that is there.

    They are computed on the CPU, so that what differs is how their files are decoded. Empty where
    one of them cannot be read; the evaluation says why.
    """
    import torch

    present = next(of for of in dataset.distortions if of not in dataset.missing)
    digest = hashlib.sha256()
    try:
        for place in sorted({0, dataset.images // 2, dataset.images - 1}):
            shard = Shard(place, place + 1)
            for batch in dataset.read(present, shard, 1, torch.device("cpu")):
                digest.update(batch.frames.numpy().tobytes())
    except DatasetError:
        return ""
    return digest.hexdigest()


def environment(device: str) -> dict[str, str]:
    """What else a number could depend on: versions of packages, decoders and code, the hardware.

    The precision is that of torch's settings as they are now.
    """
    import torch

    return {
        **versions(),
        **_decoders(),
        "commit": _commit(),
        "device": device,
        "cpu": cpu_name(),
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else "",
        **_precision(),
    }


def versions() -> dict[str, str]:
    """Of Python, the system and the packages, none of which is imported for it."""
    packages: Iterable[str] = (
        *("robustbench-aa", "torch", "torchvision", "numpy", "pandas", "pyarrow"),
        *("pillow", "av", "imagecorruptions"),
    )
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: version(package) for package in packages},
    }


def _decoders() -> dict[str, str]:
    """The libraries that Pillow and PyAV decode with, which their own versions do not tell."""
    import av
    from PIL import features

    turbo = features.version("libjpeg_turbo") if features.check("libjpeg_turbo") else None
    codec = av.library_versions["libavcodec"]
    return {
        "libjpeg": f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}",
        "libavcodec": ".".join(map(str, codec)),
    }


def _precision() -> dict[str, str]:
    """How exact float32 is on a GPU."""
    import torch

    flags: dict[str, Callable[[], object]] = {
        "float32_matmul_precision": torch.get_float32_matmul_precision,
        "matmul_tf32": lambda: torch.backends.cuda.matmul.allow_tf32,
        "cudnn_tf32": lambda: torch.backends.cudnn.allow_tf32,
    }
    told = {}
    for name, flag in flags.items():
        try:
            told[name] = str(flag())
        except RuntimeError:  # torch does not say once its newer settings were used as well
            told[name] = "unclear"
    return told


def cpu_name() -> str:
    """What the processor calls itself, or at least its architecture."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # there is none on other systems
        told = ""
    name = re.search(r"^model name\s*: (.+)$", told, re.MULTILINE)
    return name[1] if name else platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the working copy that the package runs from; empty for an installed one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
