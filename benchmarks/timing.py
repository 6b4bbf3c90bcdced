"""The time of function calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch


def medians(actions: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Return the median time of each action in ms, including the work that it starts on a GPU.

    The actions run in turn, after a first round that is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in actions}
    for repetition in range(repetitions + 1):
        for name, action in actions.items():
            wait_for_gpu()
            start = time.perf_counter()
            action()
            wait_for_gpu()
            if repetition:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: median(found) for name, found in times.items()}


def wait_for_gpu() -> None:
    """Wait until a GPU has done all the work that was started on it."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
