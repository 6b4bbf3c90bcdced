"""The command `doctor`: facts for a bug report, and a self-test against known metrics."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import click

from robustbench_aa.cli.options import say
from robustbench_aa.errors import ModelError, cause

if TYPE_CHECKING:
    import numpy as np

    from robustbench_aa.metrics.per_image import OutcomesByKind
    from robustbench_aa.types import Distortion

    PerImage = Mapping[Distortion, np.ndarray]
    """Values per image [images], by distortion."""

EXTRAS = {
    "hf": "transformers",
    "lightning": "lightning",
    "lite": "efficientnet-lite-pytorch",
    "objects": "s3fs",
    "onnx": "onnxruntime",
    "open-clip": "open_clip_torch",
    "ray": "ray",
    "timm": "timm",
    "video": "av",
}
"""Package that each extra installs."""
MODULES = {"open_clip_torch": "open_clip"}
"""Modules that are not named like their package, with underscores instead of hyphens."""

MODEL = "digits:resnet@lpf3-seed0"
LIMIT = 50
SELECTION: Mapping[str, Mapping[str, Any]] = {
    "digits-c": {"severities": [3]},
    "digits-p": {"perturbations": ["translate"]},
    "digits-shift": {},
}
"""Part of each embedded data set that the self-test evaluates, as arguments of a suite."""
EXPECTED: Mapping[str, int | float] = {
    "digits-c gaussian_noise/3 correct": 48,
    "digits-c shot_noise/3 correct": 50,
    "digits-c impulse_noise/3 correct": 37,
    "digits-c defocus_blur/3 correct": 50,
    "digits-c glass_blur/3 correct": 48,
    "digits-c motion_blur/3 correct": 47,
    "digits-c zoom_blur/3 correct": 49,
    "digits-c snow/3 correct": 48,
    "digits-c frost/3 correct": 40,
    "digits-c fog/3 correct": 30,
    "digits-c brightness/3 correct": 46,
    "digits-c contrast/3 correct": 19,
    "digits-c elastic_transform/3 correct": 47,
    "digits-c pixelate/3 correct": 50,
    "digits-c jpeg_compression/3 correct": 50,
    "digits-c speckle_noise/3 correct": 50,
    "digits-c gaussian_blur/3 correct": 50,
    "digits-c spatter/3 correct": 48,
    "digits-c saturate/3 correct": 50,
    "digits-p translate flip probability": 0.0213,
    "digits-p translate top-5 distance": 2.5013,
    "digits-shift/circular consistency": 0.9295,
}
"""Metrics of the self-test, computed on a CPU (x86-64) with torch 2.15.0.

The number of the 50 images that are classified correctly is the same on every machine: no image is
so close to a tie that rounding changes its class (`tests/cli/test_doctor.py` checks this).
"""
TOLERANCE = 0.005
"""Largest accepted difference of a mean; it covers thousands of frames, and some are ties."""

Facts = Mapping[str, Callable[[], object]]


@click.command()
def doctor() -> int:
    """Print facts for a bug report and run a self-test.

    The facts are versions, devices, disk space and folders. The exit status is 1 if the self-test
    fails on a device.
    """
    return 0 if diagnose(say) else 1


def diagnose(print_line: Callable[[str], None]) -> bool:
    """Print all facts line by line and return whether the self-test passes on every device.

    A fact that cannot be determined is printed with the reason; nothing is raised.
    """
    for heading, facts in SECTIONS.items():
        print_line(heading)
        for name, fact in facts.items():
            for line in _lines(name, fact):
                print_line(line)
        print_line("")
    print_line("self-test")
    passed = [_passes(device, print_line) for device in _devices()]
    return all(passed)


def _lines(name: str, fact: Callable[[], object]) -> Iterator[str]:
    """Yield the line of a fact, or a line per entry of a dictionary."""
    try:
        value = fact()
    except Exception as error:  # a broken installation is what the doctor is for
        value = f"unknown ({cause(error)})"
    for key, text in (value if isinstance(value, dict) else {name: value}).items():
        yield f"{key}: {text}"


def _decoders() -> dict[str, str]:
    """Return the part of a run's recorded environment that no other section prints."""
    from robustbench_aa.store.environment import environment, versions

    printed = {*versions(), "device", "cpu", "gpu"}
    return {name: value for name, value in environment("cpu").items() if name not in printed}


def _gpus() -> dict[str, str]:
    import torch

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        reason = " ".join(str(warned[-1].message).split()) if warned else f"torch is built {built}"
        return {"cuda": f"none ({reason})"}
    gpus = map(torch.cuda.get_device_properties, range(count))
    return {
        f"cuda:{index}": f"{gpu.name}, {gpu.total_memory / 2**30:.1f} GiB"
        for index, gpu in enumerate(gpus)
    }


def _pixels() -> str:
    """Return how the distortions' golden pixels compare with those of the reference machine."""
    from robustbench_aa.distortions.golden import differing, golden_cells

    names = dict.fromkeys(name.split(" ")[1].split("/")[0] for name in differing())
    count = len({cell.name for cell in golden_cells()})
    if not names:
        return f"all {count} are identical to the reference machine's, byte for byte"
    return (
        f"{len(names)} of {count} differ from the reference machine's by rounding "
        f"({', '.join(names)}); predictions may differ on single images"
    )


def _call(function: str) -> Any:
    """Import a function, named as `module:function`, and return its result."""
    return resolve_name(function)()


def _free(function: str) -> str:
    path = Path(_call(function))
    # a folder that does not exist yet will lie on the disk of its parent
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    return f"{shutil.disk_usage(existing).free / 2**30:.1f} GiB in {path}"


def _folders() -> dict[str, str]:
    """Return the state of each data set's folder, by environment variable."""
    from robustbench_aa.datasets import DATASETS

    entries = DATASETS.values()
    return {entry.variable: _folder(entry.variable) for entry in entries if not entry.embedded}


def _folder(variable: str) -> str:
    folder = os.environ.get(variable)
    if not folder:
        return "not set"
    try:
        with os.scandir(folder) as entries:
            return f"{folder}, {'has files' if any(entries) else 'empty'}"
    except OSError as error:
        return f"{folder}, which cannot be read ({error.strerror})"


def _version(package: str) -> str:
    try:
        import_module(MODULES.get(package, package.replace("-", "_")))
        return f"{package} {version(package)}"
    except ImportError as error:
        return f"cannot be imported ({cause(error)})"


SECTIONS: Mapping[str, Facts] = {
    "versions": {
        "packages": partial(_call, "robustbench_aa.store.environment:versions"),
        "decoders": _decoders,
    },
    "devices": {
        "cpu": partial(_call, "robustbench_aa.store.environment:cpu_name"),
        "cores": partial(_call, "robustbench_aa.datasets.pictures:cores"),
        "torch threads": partial(_call, "torch:get_num_threads"),
        "cuda": _gpus,
    },
    "free disk space": {
        "current directory": partial(_free, "os:getcwd"),
        "temporary directory": partial(_free, "tempfile:gettempdir"),
        "torch hub cache": partial(_free, "torch.hub:get_dir"),
    },
    "data set folders": {"folders": _folders},
    "extras": {name: partial(_version, package) for name, package in EXTRAS.items()},
    "pixels": {"distortions": _pixels},
}


def _devices() -> list[str]:
    """Return the devices for the self-test; without torch, the CPU, on which it then fails."""
    try:
        import torch

        gpu = torch.cuda.is_available()
    except Exception:
        gpu = False
    return ["cpu", "cuda"] if gpu else ["cpu"]


def _passes(device: str, print_line: Callable[[str], None]) -> bool:
    """Run the self-test on a device, print its result and return whether it passes."""
    start = time.perf_counter()
    try:
        found = _measure(device)
        wrong = [name for name, value in EXPECTED.items() if not _agree(found[name], value)]
    except Exception as error:
        print_line(f"{device}: failed ({cause(error)})")
        return False
    for name in wrong:
        print_line(f"{device}, {name}: {found[name]:.6g}, expected {EXPECTED[name]:.6g}")
    verdict = f"{len(wrong)} of {len(EXPECTED)} metrics differ" if wrong else "ok"
    print_line(f"{device}: {verdict} ({time.perf_counter() - start:.1f} s)")
    return not wrong


def _agree(found: int | float, expected: int | float) -> bool:
    """Return whether counts are equal, or means equal within the tolerance."""
    return abs(found - expected) <= (0 if isinstance(expected, int) else TOLERANCE)


def _measure(device: str) -> dict[str, int | float]:
    """Evaluate the self-test in a temporary directory and return its metrics by name.

    Raises:
        UsageError: The device or the temporary directory cannot be used.
        ModelError: A cell could not be evaluated.
    """
    from robustbench_aa.evaluation.session import prepare
    from robustbench_aa.metrics.per_image import read_models
    from robustbench_aa.store.shards import Store
    from robustbench_aa.suite import Suite

    with tempfile.TemporaryDirectory() as folder:
        for dataset, part in SELECTION.items():
            suite = Suite([MODEL], [dataset], limit=LIMIT, **part)
            for failure in prepare(suite, folder, device).run().failures:
                raise ModelError(str(failure))
        return _metrics(read_models(Store.of_run(Path(folder)))[MODEL].mean)


def _metrics(measured: OutcomesByKind) -> dict[str, int | float]:
    kinds = ("corruption", "perturbation", "shift")
    images, sequences, shifts = (measured[kind] for kind in kinds)
    return {
        **{
            f"digits-c {cell} correct": int((wrong == 0).sum())
            for cell, wrong in _evaluated(images.wrong).items()
        },
        **_means("digits-p {} flip probability", sequences.flips),
        **_means("digits-p {} top-5 distance", sequences.top5_distance),
        **_means("digits-{} consistency", shifts.consistency),
    }


def _means(name: str, table: PerImage) -> dict[str, float]:
    return {name.format(cell): float(values.mean()) for cell, values in _evaluated(table).items()}


def _evaluated(table: PerImage) -> PerImage:
    """Return the distortions that were evaluated; the others have NaN values."""
    return {cell: values for cell, values in table.items() if not any(map(math.isnan, values))}
