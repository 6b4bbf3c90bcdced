"""Prefetching of items and deferred calls, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch

from robustbench_aa.support.stage_times import stage

T = TypeVar("T")
_END = object()


def prefetched(items: Iterable[T], device: torch.device) -> Generator[T]:
    """Yield the items of an iterable; a thread makes the next one while the caller uses one.

    Args:
        items: The iterable.
        device: The device on which the items are made. On a GPU the thread has its own stream, and
            an item is yielded when the stream's work on it has finished.

    Raises:
        Exception: The iterable raised it; the items before it have been yielded.
    """
    iterator = iter(items)
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def make_next() -> T | object:
        with torch.cuda.stream(stream):
            item = next(iterator, _END)
        if stream is not None:
            stream.synchronize()
        return item

    with ThreadPoolExecutor(1, "prefetch") as thread:
        coming = thread.submit(make_next)
        while True:
            with stage("waiting"):
                item = coming.result()
            if item is _END:
                return
            coming = thread.submit(make_next)
            yield cast("T", item)


@contextmanager
def deferred() -> Iterator[Callable[..., None]]:
    """Provide `call(function, *arguments)`, which leaves the call to a thread.

    Each call first waits for the one before it, so at most one is in progress. All calls have
    finished on exit.

    Raises:
        Exception: A deferred call raised it; raised by the next call or on exit.
    """
    with ThreadPoolExecutor(1, "commit") as thread:
        last: Future[Any] = thread.submit(int)

        def call(function: Callable[..., object], *arguments: object) -> None:
            nonlocal last
            last.result()
            last = thread.submit(function, *arguments)

        yield call
        last.result()
