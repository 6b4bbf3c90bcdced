"""Seeded randomness that depends on the image alone.

Every random number is a hash of (seed, distortion, image index, position): no generator carries
state from one image to the next, so distorted pixels do not depend on batch size, shard, order,
worker or resuming, and the integers are the same on every device. The hash is the finaliser of
SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.types import Distortion


def _signed(value: int) -> int:
    """The 64-bit pattern of `value` as torch's int64 holds it."""
    return value - 2**64 if value >= 2**63 else value


_GOLDEN_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


class Draws:
    """The random numbers of a batch of images, one independent stream an image.

    A stream is consumed by each call, so two calls never return the same numbers, and the order
    of the calls is part of a distortion's definition.

    Args:
        seed: the run's seed.
        distortion: what the numbers are for.
        index: [B], the images' places in their data set.
        device: where the numbers are made.
    """

    def __init__(
        self,
        seed: int,
        distortion: Distortion,
        index: Iterable[int],
        device: torch.device | str = "cpu",
    ) -> None:
        keys = [_key(seed, distortion, int(i)) for i in index]
        self._keys = torch.tensor(keys, dtype=torch.int64, device=device).unsqueeze(1)
        self._position = 1

    def uniform(self, *shape: int) -> Tensor:
        """[B, *shape] float32, uniform on the 2²⁴ multiples of 2⁻²⁴ in [0, 1)."""
        count = math.prod(shape)
        high, low = self._halves((count + 1) // 2)
        bits = torch.cat((high, low), dim=1)[:, :count]
        return (bits >> 8).float().mul_(2.0**-24).view(-1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """[B, *shape] float32, standard normal (Box and Muller, 1958), |z| below 6.8."""
        count = math.prod(shape)
        high, low = self._halves((count + 1) // 2)
        radius = high.float().add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
        angle = low.float().mul_(2.0 * math.pi * 2.0**-32)
        pairs = torch.cat((angle.cos().mul_(radius), angle.sin().mul_(radius)), dim=1)
        return pairs[:, :count].reshape(-1, *shape)

    def _halves(self, count: int) -> tuple[Tensor, Tensor]:
        """The upper and the lower 32 bits of the next `count` hashes, [B, count] each."""
        position = torch.arange(self._position, self._position + count, device=self._keys.device)
        self._position += count
        bits = self._keys + position * _GOLDEN_GAMMA
        bits ^= _shifted(bits, 30)
        bits *= _MIX_1
        bits ^= _shifted(bits, 27)
        bits *= _MIX_2
        bits ^= _shifted(bits, 31)
        return _shifted(bits, 32), bits & 0xFFFFFFFF


def _shifted(bits: Tensor, places: int) -> Tensor:
    """Logical right shift; torch's own carries the sign along."""
    return (bits >> places).bitwise_and_((1 << (64 - places)) - 1)


def _key(seed: int, distortion: Distortion, index: int) -> int:
    text = f"{seed}|{distortion}|{index}".encode()
    return int(np.frombuffer(hashlib.blake2b(text, digest_size=8).digest(), dtype="<i8")[0])
