"""Stage times: how long each part of an evaluation takes.

`forward` is the time of the models themselves. Beside a GPU, `decode`, `distort` and `copy` run in
the thread that prefetches, so the stages add up to more than `wall`, and `waiting` is the time for
which the models waited for that thread. On a CPU nothing is prefetched. `commit` always runs in a
thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("decode", "distort", "copy", "forward", "commit", "waiting")


class Profile:
    """Seconds of each stage, and of the whole evaluation (`wall`)."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys([*STAGES, "wall"], 0.0)
        self._lock = threading.Lock()

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a stage; may be called from any thread."""
        with self._lock:
            self.seconds[name] += seconds


_profile: Profile | None = None


@contextmanager
def profiled() -> Iterator[Profile]:
    """Measure the stages within the block.

    A GPU is synchronized after each stage, which slows the evaluation down a little.
    """
    global _profile
    _profile = profile = Profile()
    start = time.perf_counter()
    try:
        yield profile
    finally:
        _profile = None
        profile.add("wall", time.perf_counter() - start)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time of the block to a stage, if the evaluation is being profiled."""
    profile = _profile
    if profile is None:
        yield
        return
    start = time.perf_counter()
    yield
    _synchronize()
    profile.add(name, time.perf_counter() - start)


def _synchronize() -> None:
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.current_stream().synchronize()
