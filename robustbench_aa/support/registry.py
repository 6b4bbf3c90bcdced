"""Registries: named objects of one kind, such as corruptions or data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from robustbench_aa.errors import UnknownName

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Named objects of one kind, in the order of registration; an unknown name raises.

    Args:
        noun: the kind in error messages, such as "corruption" or "data set".
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._objects: dict[str, T] = {}

    def register(self, name: str, value: T, replace: bool = False) -> T:
        """Register an object under a name and return the object.

        Args:
            name: the name.
            value: the object.
            replace: whether the object may replace another one of this name.

        Raises:
            ValueError: the name is already registered.
        """
        if name in self._objects and not replace:
            raise ValueError(f"{self.noun} {name!r} is registered twice")
        self._objects[name] = value
        return value

    def __getitem__(self, name: str) -> T:
        try:
            return self._objects[name]
        except KeyError:
            raise UnknownName(self.noun, name, self) from None

    def __contains__(self, name: object) -> bool:
        return name in self._objects

    def __iter__(self) -> Iterator[str]:
        return iter(self._objects)

    def __len__(self) -> int:
        return len(self._objects)
