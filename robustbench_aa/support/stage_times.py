"""Stage times: how long each part of an evaluation takes, and when.

`forward` is the time of the models themselves. Beside a GPU, `decode`, `distort` and `copy` run in
the thread that prefetches, so the stages add up to more than `wall`, and `waiting` is the time for
which the models waited for that thread. On a CPU nothing is prefetched. `commit` always runs in a
thread of its own.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STAGES = ("decode", "distort", "copy", "forward", "commit", "waiting")
ON_DEVICE = ("distort", "copy", "forward")
"""Stages that start work on a GPU, which is part of their time."""
MOST_EVENTS = 20_000
"""Events that a trace keeps, from the start; about 2 MB."""


class Profile:
    """Seconds of each stage and of the whole evaluation (`wall`), and a trace of the stages."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys([*STAGES, "wall"], 0.0)
        self.begin = time.perf_counter()
        self.left_out = 0
        self._events: list[tuple[str, str, float, float]] = []
        self._lock = threading.Lock()

    def add(self, name: str, start: float, end: float) -> None:
        """Add a stage that ran in the calling thread; may be called from any thread.

        Args:
            name: Name of the stage.
            start, end: Times of `time.perf_counter`, in seconds.
        """
        with self._lock:
            self.seconds[name] += end - start
            if len(self._events) < MOST_EVENTS:
                self._events.append((name, threading.current_thread().name, start, end))
            else:
                self.left_out += 1

    def trace(self) -> str:
        """Return the stages as a JSON object in the trace event format of Chrome.

        Perfetto (https://ui.perfetto.dev) and `chrome://tracing` open it. Each event is a stage on
        the thread in which it ran, in microseconds from the start. `otherData` has the number of
        events that were left out at the end.
        """
        threads = list(dict.fromkeys(thread for _, thread, _, _ in self._events))
        names: list[dict[str, Any]] = [
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": place, "args": {"name": thread}}
            for place, thread in enumerate(threads, start=1)
        ]
        stages = [
            {
                "ph": "X",
                "name": name,
                "pid": 1,
                "tid": threads.index(thread) + 1,
                "ts": round(1e6 * (start - self.begin), 1),
                "dur": round(1e6 * (end - start), 1),
            }
            for name, thread, start, end in self._events
        ]
        lines = ",\n".join(json.dumps(event) for event in (*names, *stages))
        other = json.dumps({"events_left_out": self.left_out})
        return f'{{"traceEvents": [\n{lines}\n], "displayTimeUnit": "ms", "otherData": {other}}}\n'


_profile: Profile | None = None


@contextmanager
def profiled() -> Iterator[Profile]:
    """Measure the stages within the block.

    A GPU is synchronized after each stage that uses it, which slows the evaluation down a little.
    """
    global _profile
    _profile = profile = Profile()
    try:
        yield profile
    finally:
        _profile = None
        profile.seconds["wall"] = time.perf_counter() - profile.begin


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time of the block to a stage, if the evaluation is being profiled."""
    profile = _profile
    if profile is None:
        yield
        return
    start = time.perf_counter()
    yield
    if name in ON_DEVICE:
        _synchronize()
    profile.add(name, start, time.perf_counter())


def _synchronize() -> None:
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.current_stream().synchronize()
