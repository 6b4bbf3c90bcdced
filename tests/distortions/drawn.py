"""Random numbers that the reference and our functions share."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy import stats


class Recorder:
    """A stand-in for `numpy.random` that records its draws as standard draws."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.uniforms: list[np.ndarray] = []
        self.normals: list[np.ndarray] = []

    def random(self, size: Any = None) -> Any:
        # halfway between the multiples of 2⁻²³, so that no rounding moves it over a border
        drawn = (self.generator.integers(2**23, size=size) + 0.5) * 2.0**-23
        self.uniforms.append(np.asarray(drawn, dtype=np.float32).ravel())
        return drawn

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None) -> Any:
        return low + (high - low) * self.random(size)

    def normal(self, loc: float = 0.0, scale: float = 1.0, size: Any = None) -> Any:
        drawn = self.generator.standard_normal(size, dtype=np.float32)
        self.normals.append(drawn.ravel())
        return loc + scale * drawn.astype(np.float64)

    def randint(self, low: int, high: int | None = None, size: Any = None) -> Any:
        low, high = (0, low) if high is None else (low, high)
        drawn = np.floor(low + (high - low) * self.random(size)).astype(int)
        return drawn if size is not None else int(drawn)

    def poisson(self, mean: np.ndarray) -> np.ndarray:
        """Invert the distribution functions; an image has few levels, so one table each will do."""
        drawn = self.random(mean.shape).ravel()
        order = np.argsort(mean, axis=None)
        levels, starts = np.unique(mean.ravel()[order], return_index=True)
        counts = np.empty(mean.size)
        for level, places in zip(levels, np.split(order, starts[1:]), strict=True):
            counts[places] = np.searchsorted(poisson_distribution(level), drawn[places])
        return counts.reshape(mean.shape)


@lru_cache(maxsize=1024)
def poisson_distribution(mean: float) -> np.ndarray:
    """Return P(count ≤ k) for every k that a draw can reach."""
    return stats.poisson.cdf(np.arange(mean + 10 * np.sqrt(mean) + 20), mean)


class Replay:
    """The draws of several recorders, one per image, for a batched function."""

    def __init__(self, recorders: list[Recorder]) -> None:
        self.streams = {
            kind: torch.from_numpy(np.stack([np.concatenate(getattr(r, kind)) for r in recorders]))
            for kind in ("uniforms", "normals")
            if getattr(recorders[0], kind)
        }
        self.position = dict.fromkeys(self.streams, 0)

    def _next(self, kind: str, shape: tuple[int, ...]) -> torch.Tensor:
        start = self.position[kind]
        self.position[kind] += int(np.prod(shape))
        found = self.streams[kind][:, start : self.position[kind]]
        assert found.shape[1] == int(np.prod(shape)), "the reference drew fewer numbers"
        if len(shape) == 3:  # the references draw for [H, W, 3]
            return found.reshape(-1, *shape[1:], shape[0]).permute(0, 3, 1, 2)
        return found.reshape(-1, *shape)

    def uniform(self, *shape: int) -> torch.Tensor:
        return self._next("uniforms", shape)

    def normal(self, *shape: int) -> torch.Tensor:
        return self._next("normals", shape)

    def assert_spent(self) -> None:
        for kind, stream in self.streams.items():
            assert self.position[kind] == stream.shape[1], f"the reference drew more {kind}"
