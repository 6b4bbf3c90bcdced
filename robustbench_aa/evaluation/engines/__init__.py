"""Engines: where the evaluation loop runs."""

from robustbench_aa.evaluation.engines import local, ray
from robustbench_aa.evaluation.engines.local import Engine
from robustbench_aa.support.registry import Registry

__all__ = ["ENGINES", "Engine"]

ENGINES: Registry[Engine] = Registry("engine")
ENGINES.register("local", local.run)
ENGINES.register("ray", ray.run)
