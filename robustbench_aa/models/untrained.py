"""Untrained networks with reproducible random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def untrained(build: Callable[[], M]) -> M:
    """Return the network that `build` makes with seed 0; torch's random state is unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed GPUs too
        return build()
