"""The doctor: what a bug report should tell, and whether this machine gets known figures right."""

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_aa.errors import ModelError, cause
from robustbench_aa.store.manifest import cpu_name, environment, versions

if TYPE_CHECKING:
    import numpy as np

    from robustbench_aa.metrics.per_image import ByKind
    from robustbench_aa.types import Distortion

    Outcomes = Mapping[Distortion, np.ndarray]
    """By distortion [images]."""

EXTRAS = {"objects": "s3fs", "onnx": "onnxruntime", "ray": "ray", "timm": "timm"}
"""The package that each extra installs."""

MODEL = "digits:resnet@lpf3-seed0"
LIMIT = 50
ASKED: Mapping[str, Mapping[str, Any]] = {
    "digits-c": {"severities": [3]},
    "digits-p": {"perturbations": ["translate"]},
    "digits-shift": {},
}
"""What of the embedded data sets the self-test measures."""
EXPECTED: Mapping[str, int | float] = {
    "digits-c gaussian_noise/3 right": 48,
    "digits-c shot_noise/3 right": 50,
    "digits-c impulse_noise/3 right": 37,
    "digits-c defocus_blur/3 right": 50,
    "digits-c glass_blur/3 right": 48,
    "digits-c motion_blur/3 right": 47,
    "digits-c zoom_blur/3 right": 49,
    "digits-c snow/3 right": 48,
    "digits-c frost/3 right": 40,
    "digits-c fog/3 right": 30,
    "digits-c brightness/3 right": 46,
    "digits-c contrast/3 right": 19,
    "digits-c elastic_transform/3 right": 47,
    "digits-c pixelate/3 right": 50,
    "digits-c jpeg_compression/3 right": 50,
    "digits-c speckle_noise/3 right": 50,
    "digits-c gaussian_blur/3 right": 50,
    "digits-c spatter/3 right": 48,
    "digits-c saturate/3 right": 50,
    "digits-p translate flip probability": 0.0213,
    "digits-p translate top-5 distance": 2.5013,
    "digits-shift/circular consistency": 0.9295,
}
"""What `_measure("cpu")` returned when the doctor was written, with torch 2.15.0 on x86-64.

How many of the 50 images are classified rightly is exact on every machine: none of them is so near
to a tie that rounding could turn it, which `tests/test_doctor.py` holds.
"""
TOLERANCE = 0.005
"""Of the means, over thousands of frames of which some are ties."""

Facts = Mapping[str, Callable[[], object]]


def diagnose(tell: Callable[[str], None]) -> bool:
    """Tells everything, a line at a time, and whether the self-test passed on every device.

    What cannot be found out is a line like any other: nothing is raised.
    """
    for heading, facts in SECTIONS.items():
        tell(heading)
        for name, fact in facts.items():
            for line in _lines(name, fact):
                tell(line)
        tell("")
    tell("pixels")
    for line in _lines("distortions", _pixels):
        tell(line)
    tell("")
    tell("self-test")
    passed = [_passes(device, tell) for device in _devices()]
    return all(passed)


def _lines(name: str, fact: Callable[[], object]) -> Iterator[str]:
    """A line, or one for each entry where the fact is several."""
    try:
        told = fact()
    except Exception as error:  # what is broken is what the doctor is asked for
        told = f"cannot be told ({cause(error)})"
    for key, value in (told if isinstance(told, dict) else {name: told}).items():
        yield f"{key}: {value}"


def _decoders() -> dict[str, str]:
    """What else runs are told of by, but for what has a line of its own."""
    elsewhere = {*versions(), "device", "cpu", "gpu"}
    return {name: of for name, of in environment("cpu").items() if name not in elsewhere}


def _cores() -> int:
    from robustbench_aa.datasets.pictures import cores

    return cores()


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _gpus() -> dict[str, str]:
    import torch

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [torch.cuda.get_device_properties(place) for place in range(count)]
    if not found:
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        why = " ".join(str(warned[-1].message).split()) if warned else f"torch is built {built}"
        return {"cuda": f"none ({why})"}
    return {
        f"cuda:{place}": f"{of.name}, {of.total_memory / 2**30:.1f} GiB"
        for place, of in enumerate(found)
    }


def _pixels() -> str:
    """Return whether distortions make the golden pixels to the byte or within rounding."""
    from robustbench_aa.distortions.golden import differing, golden_cells

    names = dict.fromkeys(name.split(" ")[1].split("/")[0] for name in differing())
    count = len({cell.name for cell in golden_cells()})
    if not names:
        return f"identical to the byte to those of the reference machine, all {count}"
    return (
        f"within rounding of those of the reference machine: {len(names)} of {count} differ "
        f"({', '.join(names)}); predictions may differ on single images"
    )


def _hub() -> str:
    import torch

    return torch.hub.get_dir()


def _free(folder: Callable[[], str]) -> str:
    path = Path(folder())
    # what is not there yet will be made on the disk of the folder above
    there = next(of for of in (path, *path.parents) if of.exists())
    return f"{shutil.disk_usage(there).free / 2**30:.1f} GiB in {path}"


def _folders() -> dict[str, str]:
    """Return what is in each folder that the environment names, by environment variable."""
    from robustbench_aa.datasets import DATASETS

    entries = DATASETS.values()
    return {entry.variable: _folder(entry.variable) for entry in entries if not entry.embedded}


def _folder(variable: str) -> str:
    named = os.environ.get(variable)
    if not named:
        return "not set"
    try:
        with os.scandir(named) as entries:
            return f"{named}, {'there' if any(entries) else 'empty'}"
    except OSError as error:
        return f"{named}, which cannot be read ({error.strerror})"


def _version(package: str) -> str:
    try:
        return f"{package} {import_module(package).__version__}"
    except ImportError as error:
        return f"cannot be imported ({cause(error)})"


SECTIONS: Mapping[str, Facts] = {
    "versions": {"packages": versions, "decoders": _decoders},
    "devices": {"cpu": cpu_name, "cores": _cores, "torch threads": _threads, "cuda": _gpus},
    "free disk space": {
        "current directory": partial(_free, os.getcwd),
        "temporary directory": partial(_free, tempfile.gettempdir),
        "torch hub cache": partial(_free, _hub),
    },
    "folders of data sets": {"folders": _folders},
    "extras": {name: partial(_version, package) for name, package in EXTRAS.items()},
}


def _devices() -> list[str]:
    """Those that the self-test runs on; it fails on the first where torch cannot be loaded."""
    try:
        import torch

        gpu = torch.cuda.is_available()
    except Exception:
        gpu = False
    return ["cpu", "cuda"] if gpu else ["cpu"]


def _passes(device: str, tell: Callable[[str], None]) -> bool:
    start = time.perf_counter()
    try:
        found = _measure(device)
        wrong = [name for name, value in EXPECTED.items() if not _agree(found[name], value)]
    except Exception as error:
        tell(f"{device}: failed ({cause(error)})")
        return False
    for name in wrong:
        tell(f"{device}, {name}: {found[name]:.6g}, expected {EXPECTED[name]:.6g}")
    verdict = f"{len(wrong)} of {len(EXPECTED)} figures differ" if wrong else "ok"
    tell(f"{device}: {verdict} ({time.perf_counter() - start:.1f} s)")
    return not wrong


def _agree(found: int | float, expected: int | float) -> bool:
    """Counts do exactly, means within the tolerance."""
    return abs(found - expected) <= (0 if isinstance(expected, int) else TOLERANCE)


def _measure(device: str) -> dict[str, int | float]:
    """The self-test's figures by name, from predictions in a folder that is taken away again.

    Raises:
        UsageError: the device or the temporary directory cannot be used.
        ModelError: some cells could not be evaluated.
    """
    from robustbench_aa.evaluation.session import prepare
    from robustbench_aa.metrics.per_image import read_models
    from robustbench_aa.store.shards import Store
    from robustbench_aa.suite import Suite

    with tempfile.TemporaryDirectory() as folder:
        for dataset, what in ASKED.items():
            suite = Suite([MODEL], [dataset], limit=LIMIT, **what)
            for failure in prepare(suite, folder, device).carry_out().failures:
                raise ModelError(str(failure))
        return _figures(read_models(Store.of_run(Path(folder)))[MODEL].mean)


def _figures(of: ByKind) -> dict[str, int | float]:
    pictures, sequences, shifts = (of[kind] for kind in ("corruption", "perturbation", "shift"))
    return {
        **{
            f"digits-c {cell} right": int((wrong == 0).sum())
            for cell, wrong in _evaluated(pictures.wrong).items()
        },
        **_means("digits-p {} flip probability", sequences.flips),
        **_means("digits-p {} top-5 distance", sequences.top5_distance),
        **_means("digits-{} consistency", shifts.agreement),
    }


def _means(name: str, table: Outcomes) -> dict[str, float]:
    return {name.format(cell): float(values.mean()) for cell, values in _evaluated(table).items()}


def _evaluated(table: Outcomes) -> Outcomes:
    """What was asked for of all that a data set defines."""
    return {cell: values for cell, values in table.items() if not any(map(math.isnan, values))}
