"""Engines: where the evaluation loop runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from robustbench_aa.evaluation.engines import local, ray
from robustbench_aa.support.registry import Registry
from robustbench_aa.types import Failure

if TYPE_CHECKING:
    from robustbench_aa.evaluation.session import Session

__all__ = ["ENGINES", "Engine"]

Engine = Callable[["Session"], list[Failure]]
"""A function that does the work of a session and returns what could not be evaluated."""
ENGINES: Registry[Engine] = Registry("engine")
ENGINES.register("local", local.run)
ENGINES.register("ray", ray.run)
