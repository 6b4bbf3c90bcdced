"""Seeded randomness that depends on the image alone.

Every random number is a hash of (seed, distortion, image index, position). No generator carries
state from one image to the next, so distorted pixels do not depend on batch size, shard, order,
worker or resuming. The integers are the same on every device. The hash is the finaliser of
SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.types import Distortion


def _signed(value: int) -> int:
    """Return the int64 with the same 64 bits as an unsigned `value`."""
    return value - 2**64 if value >= 2**63 else value


_GOLDEN_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)

CHUNK = 2**16
"""Hashes that are made at once on a CPU, for all images: arrays that fit its cache are faster."""
Fill = Callable[[Tensor, Tensor, Tensor, Tensor], None]
"""A function (upper 32 bits, lower 32 bits, first half, second half) that fills both halves."""


class Draws:
    """The random numbers of a batch of images, one independent stream per image.

    Each call consumes the stream, so two calls never return the same numbers, and the order of the
    calls is part of a distortion's definition.

    Args:
        seed: the run's seed.
        distortion: the distortion that uses the numbers.
        index: [B], the images' positions in their data set.
        device: the device of the numbers.
    """

    def __init__(
        self,
        seed: int,
        distortion: Distortion,
        index: Iterable[int],
        device: torch.device | str = "cpu",
    ) -> None:
        keys = [image_seed(seed, distortion, int(i)) for i in index]
        self._keys = torch.tensor(keys, dtype=torch.int64, device=device).unsqueeze(1)
        self._position = 1

    def uniform(self, *shape: int) -> Tensor:
        """Return [B, *shape] float32, uniform on the 2²⁴ multiples of 2⁻²⁴ in [0, 1)."""

        def fill(high: Tensor, low: Tensor, first: Tensor, second: Tensor) -> None:
            first.copy_(high.bitwise_right_shift_(8)).mul_(2.0**-24)
            second.copy_(low.bitwise_right_shift_(8)).mul_(2.0**-24)

        return self._filled(shape, fill)

    def normal(self, *shape: int) -> Tensor:
        """Return [B, *shape] float32, standard normal (Box and Muller, 1958), |z| below 6.8."""

        def fill(high: Tensor, low: Tensor, first: Tensor, second: Tensor) -> None:
            radius = high.float().add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
            angle = low.float().mul_(2.0 * math.pi * 2.0**-32)
            torch.mul(angle.cos(), radius, out=first)
            torch.mul(angle.sin_(), radius, out=second)

        return self._filled(shape, fill)

    def _filled(self, shape: tuple[int, ...], fill: Fill) -> Tensor:
        """Return [B, *shape] float32; each hash gives one number to each half of the result."""
        count = math.prod(shape)
        half = (count + 1) // 2
        result = torch.empty(len(self._keys), 2 * half, device=self._keys.device)
        step = CHUNK // max(len(result), 1) if result.device.type == "cpu" else half
        step = max(step, 1)
        for start in range(0, half, step):
            stop = min(start + step, half)
            bits = hashes(self._keys, self._position + start, self._position + stop)
            fill(
                _shifted(bits, 32),
                bits.bitwise_and_(0xFFFFFFFF),
                result[:, start:stop],
                result[:, half + start : half + stop],
            )
        self._position += half
        return result[:, :count].reshape(-1, *shape)


def hashes(keys: Tensor, start: int, stop: int) -> Tensor:
    """Return SplitMix64 of keys [B, 1] int64 at a range of positions, [B, stop − start] int64."""
    position = torch.arange(start, stop, device=keys.device)
    bits = keys + position * _GOLDEN_GAMMA
    bits ^= _shifted(bits, 30)
    bits *= _MIX_1
    bits ^= _shifted(bits, 27)
    bits *= _MIX_2
    bits ^= _shifted(bits, 31)
    return bits


def _shifted(bits: Tensor, places: int) -> Tensor:
    """Shift right without the sign, which torch's operator would repeat."""
    return (bits >> places).bitwise_and_((1 << (64 - places)) - 1)


def image_seed(seed: int, distortion: Distortion, index: int) -> int:
    """Return the 64-bit signed seed of an image under a distortion."""
    text = f"{seed}|{distortion}|{index}".encode()
    return int(np.frombuffer(hashlib.blake2b(text, digest_size=8).digest(), dtype="<i8")[0])
