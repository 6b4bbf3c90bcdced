"""Engines: where the evaluation loop runs."""

from robustbench_aa.engines import local, ray
from robustbench_aa.engines.local import Engine
from robustbench_aa.registry import Registry

__all__ = ["ENGINES", "Engine"]

ENGINES: Registry[Engine] = Registry("engine")
ENGINES.register("local", local.run)
ENGINES.register("ray", ray.run)
