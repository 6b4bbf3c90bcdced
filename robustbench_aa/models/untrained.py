"""A network before training, the same one every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def untrained(build: Callable[[], M]) -> M:
    """What `build` makes when its random weights come from seed 0; other draws are not moved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()
