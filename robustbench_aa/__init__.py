"""A robustness benchmark harness for image classifiers, built around anti-aliased networks.

`dir(robustbench_aa)` lists the public names. Each is imported when it is first used, so that
reports need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_aa import antialiasing as antialiasing
    from robustbench_aa import callbacks as callbacks
    from robustbench_aa import metrics as metrics
    from robustbench_aa import transforms as transforms
    from robustbench_aa.antialiasing import BlurPool as BlurPool
    from robustbench_aa.antialiasing import MaxBlurPool as MaxBlurPool
    from robustbench_aa.antialiasing import antialias as antialias
    from robustbench_aa.classifier import Classifier as Classifier
    from robustbench_aa.datasets import load_dataset as load_dataset
    from robustbench_aa.datasets import register_dataset as register_dataset
    from robustbench_aa.datasets.image_arrays import ImageArrays as ImageArrays
    from robustbench_aa.datasets.image_folder import ImageFolder as ImageFolder
    from robustbench_aa.distortions.corruptions.registered import (
        register_corruption as register_corruption,
    )
    from robustbench_aa.distortions.registered_perturbations import (
        register_perturbation as register_perturbation,
    )
    from robustbench_aa.errors import RobustbenchError as RobustbenchError
    from robustbench_aa.evaluation.benchmark import benchmark as benchmark
    from robustbench_aa.evaluation.inference import Inference as Inference
    from robustbench_aa.images import corrupt as corrupt
    from robustbench_aa.images import perturb as perturb
    from robustbench_aa.models import load as load
    from robustbench_aa.models import load_model as load_model
    from robustbench_aa.models.crop_selected import select_crop as select_crop
    from robustbench_aa.preprocessing import Preprocessing as Preprocessing
    from robustbench_aa.run import Run as Run
    from robustbench_aa.run import merge_runs as merge_runs
    from robustbench_aa.suite import Suite as Suite
    from robustbench_aa.suite import read_suite as read_suite

    __version__: str

_HOMES = {
    "BlurPool": "antialiasing",
    "Classifier": "classifier",
    "ImageArrays": "datasets.image_arrays",
    "ImageFolder": "datasets.image_folder",
    "Inference": "evaluation.inference",
    "MaxBlurPool": "antialiasing",
    "Preprocessing": "preprocessing",
    "RobustbenchError": "errors",
    "Run": "run",
    "Suite": "suite",
    "antialias": "antialiasing",
    "benchmark": "evaluation.benchmark",
    "corrupt": "images",
    "load": "models",
    "load_dataset": "datasets",
    "load_model": "models",
    "merge_runs": "run",
    "perturb": "images",
    "read_suite": "suite",
    "register_corruption": "distortions.corruptions.registered",
    "register_dataset": "datasets",
    "register_perturbation": "distortions.registered_perturbations",
    "select_crop": "models.crop_selected",
}

__all__ = [
    "BlurPool",
    "Classifier",
    "ImageArrays",
    "ImageFolder",
    "Inference",
    "MaxBlurPool",
    "Preprocessing",
    "RobustbenchError",
    "Run",
    "Suite",
    "antialias",
    "benchmark",
    "corrupt",
    "load",
    "load_dataset",
    "load_model",
    "merge_runs",
    "perturb",
    "read_suite",
    "register_corruption",
    "register_dataset",
    "register_perturbation",
    "select_crop",
]


_MODULES = ("antialiasing", "callbacks", "metrics", "transforms")
"""Public modules."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name == "__version__":
        return import_module(f"{__name__}.support.version").package_version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])
