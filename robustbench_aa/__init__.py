"""A robustness benchmark harness for image classifiers, built around anti-aliased networks.

Each public name is imported when it is first used, so that reports need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_aa.antialiasing import BlurPool as BlurPool
    from robustbench_aa.antialiasing import MaxBlurPool as MaxBlurPool
    from robustbench_aa.antialiasing import antialias as antialias
    from robustbench_aa.errors import RobustbenchError as RobustbenchError
    from robustbench_aa.evaluation.session import benchmark as benchmark
    from robustbench_aa.models import load as load
    from robustbench_aa.run import Run as Run
    from robustbench_aa.run import merge_runs as merge_runs
    from robustbench_aa.types import Classifier as Classifier
    from robustbench_aa.types import Preprocessing as Preprocessing

_HOMES = {
    "BlurPool": "antialiasing",
    "Classifier": "types",
    "MaxBlurPool": "antialiasing",
    "Preprocessing": "types",
    "RobustbenchError": "errors",
    "Run": "run",
    "antialias": "antialiasing",
    "benchmark": "evaluation.session",
    "load": "models",
    "merge_runs": "run",
}

__all__ = [
    "BlurPool",
    "Classifier",
    "MaxBlurPool",
    "Preprocessing",
    "RobustbenchError",
    "Run",
    "antialias",
    "benchmark",
    "load",
    "merge_runs",
]


_MODULES = ("antialiasing", "metrics")
"""Public modules."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__, *_MODULES]
