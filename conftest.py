"""For all tests and doctests: threads, and registries that no test changes for the next one."""

from __future__ import annotations

import os
from collections.abc import Iterator

# as the command line does: waiting threads that spin take the cores of the other test processes
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # the processes share the cores; small images gain nothing from several threads
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))

import pytest

# these load torch, which reads the variables
from robustbench_aa.datasets import DATASETS
from robustbench_aa.distortions import perturbations
from robustbench_aa.distortions.corruptions import CORRUPTIONS
from robustbench_aa.distortions.severities import TABLES


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    tables = [*TABLES.values(), *perturbations.TABLES.values()]
    registries = [CORRUPTIONS._objects, DATASETS._objects, *tables]
    before = [dict(registry) for registry in registries]  # type: ignore[call-overload]
    yield
    for registry, content in zip(registries, before, strict=True):
        if registry.keys() != content.keys():
            registry.clear()  # type: ignore[attr-defined]
            registry.update(content)  # type: ignore[attr-defined]
