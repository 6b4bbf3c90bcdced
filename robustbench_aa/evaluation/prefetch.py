"""Overlap: reading ahead and writing behind, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch

from robustbench_aa.support.stage_times import stage

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T], device: torch.device) -> Generator[T]:
    """Gives the items of an iterable, of which a thread makes each while the last one is used.

    Args:
        device: what makes the items. On a GPU the thread has a stream of its own, whose work on an
            item is done when it is given.

    Raises:
        Exception: whatever the iterable raises, in its place.
    """
    iterator = iter(items)
    aside = torch.cuda.Stream(device) if device.type == "cuda" else None

    def following() -> T | object:
        with torch.cuda.stream(aside):
            item = next(iterator, _END)
        if aside is not None:
            aside.synchronize()
        return item

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(following)
        while True:
            with stage("waiting"):
                item = coming.result()
            if item is _END:
                return
            coming = thread.submit(following)
            yield cast("T", item)


@contextmanager
def behind() -> Iterator[Callable[..., None]]:
    """A function `call(function, *arguments)` that leaves a call to a thread.

    It waits for the call before it, so that no more than one is on its way, and all are done in
    the end.

    Raises:
        Exception: whatever a call raised, by the next call or in the end.
    """
    with ThreadPoolExecutor(1) as thread:
        last: Future[Any] = thread.submit(int)

        def call(function: Callable[..., object], *arguments: object) -> None:
            nonlocal last
            last.result()
            last = thread.submit(function, *arguments)

        yield call
        last.result()
