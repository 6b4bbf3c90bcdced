"""The profile of a session: what its time went to.

`forward` is the models' own time. Beside a GPU, what reads ahead (`decode`, `copy`, `distort`) runs
in a thread, so that the stages add up to more than the `wall` clock shows, and `waiting` is for
what was not read in time; on a CPU they take turns. `commit` is always written behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("decode", "distort", "copy", "forward", "commit", "waiting")


class Profile:
    """Seconds by stage, and of all together (`wall`)."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys([*STAGES, "wall"], 0.0)
        self._lock = threading.Lock()

    def add(self, name: str, seconds: float) -> None:
        """Counts seconds towards a stage, from any thread."""
        with self._lock:
            self.seconds[name] += seconds


_profile: Profile | None = None


@contextmanager
def profiled() -> Iterator[Profile]:
    """Measures the stages within. A GPU is waited for after each, which slows it down a little."""
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
    """Counts the time within as a stage's, if a session is being profiled."""
    profile = _profile
    if profile is None:
        yield
        return
    start = time.perf_counter()
    yield
    _wait_for_device()
    profile.add(name, time.perf_counter() - start)


def _wait_for_device() -> None:
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.current_stream().synchronize()
