"""Name → thing. A duplicate raises; a miss lists near names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from robustbench_aa.errors import UnknownName

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """The things of one kind that can be named, in the order in which they were registered.

    Args:
        noun: what the things are called in messages: "corruption", "data set", …
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._things: dict[str, T] = {}

    def register(self, name: str, thing: T) -> T:
        """Adds a thing under a name of its own and returns it.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._things:
            raise ValueError(f"{self.noun} {name!r} is registered twice")
        self._things[name] = thing
        return thing

    def __getitem__(self, name: str) -> T:
        try:
            return self._things[name]
        except KeyError:
            raise UnknownName(self.noun, name, self) from None

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)
