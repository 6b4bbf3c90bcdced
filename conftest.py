"""For all tests and doctests: what one of them registers is unknown to the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from robustbench_aa.datasets import DATASETS
from robustbench_aa.distortions.corruptions import CORRUPTIONS
from robustbench_aa.distortions.severities import TABLES


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    registries = [CORRUPTIONS._objects, DATASETS._objects, *TABLES.values()]
    before = [dict(registry) for registry in registries]  # type: ignore[call-overload]
    yield
    for registry, content in zip(registries, before, strict=True):
        if registry.keys() != content.keys():
            registry.clear()  # type: ignore[attr-defined]
            registry.update(content)  # type: ignore[attr-defined]
