from __future__ import annotations

import pytest

from robustbench_aa.errors import UnknownName
from robustbench_aa.support.registry import Registry


def test_entries_keep_their_order() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("two", 2)
    registry.register("one", 1)
    assert dict(registry) == {"two": 2, "one": 1}
    assert "two" in registry
    assert "three" not in registry


def test_a_duplicate_raises() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("one", 1)
    with pytest.raises(ValueError, match="number 'one' is registered twice"):
        registry.register("one", 2)


def test_a_miss_lists_near_names_or_all() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("thirteen", 13)
    registry.register("six", 6)
    with pytest.raises(UnknownName, match=r"^unknown number 'thirten'; did you mean thirteen\?$"):
        registry["thirten"]
    with pytest.raises(UnknownName, match=r"^unknown number 'xyz'; known: thirteen, six$"):
        registry["xyz"]
