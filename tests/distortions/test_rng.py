from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from scipy import stats

from robustbench_aa.distortions.rng import Draws
from robustbench_aa.types import Distortion

NOISE = Distortion("corruption", "gaussian_noise", 3)


def draws(seed: int = 0, distortion: Distortion = NOISE, index: range = range(8)) -> Draws:
    return Draws(seed, distortion, index)


def test_uniform_is_uniform() -> None:
    sample = draws(index=range(40)).uniform(3, 64, 64).flatten().numpy()
    assert sample.min() >= 0
    assert sample.max() < 1
    assert stats.kstest(sample, "uniform").pvalue > 1e-3


def test_normal_is_normal_into_the_tails() -> None:
    sample = draws(index=range(40)).normal(3, 64, 64).flatten().numpy()
    assert stats.kstest(sample, "norm").pvalue > 1e-3
    assert abs(sample.mean()) < 4 / np.sqrt(sample.size)
    assert abs(sample.var() - 1) < 4 * np.sqrt(2 / sample.size)
    for threshold in (2, 3, 4):
        expected = sample.size * 2 * stats.norm.sf(threshold)
        assert abs((abs(sample) > threshold).sum() - expected) < 5 * np.sqrt(expected)


def test_neighbouring_values_images_and_calls_are_uncorrelated() -> None:
    source = draws(index=range(64))
    first, second = source.normal(4096), source.normal(4096)
    n = first.numel()
    for left, right in (
        (first[:, 1:], first[:, :-1]),
        (first[1:], first[:-1]),
        (first, second),
        (first[:, :2048], first[:, 2048:]),  # the two halves of Box and Muller's pairs
    ):
        found = np.corrcoef(left.flatten(), right.flatten())[0, 1]
        assert abs(found) < 5 / np.sqrt(n / 2)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_an_images_numbers_depend_on_it_alone(kind: str) -> None:
    together = getattr(draws(index=range(8)), kind)(3, 5, 5)
    alone = torch.cat([getattr(draws(index=range(i, i + 1)), kind)(3, 5, 5) for i in range(8)])
    assert torch.equal(together, alone)


def test_seed_distortion_and_image_each_give_other_numbers() -> None:
    samples = [
        draws().uniform(16),
        draws(seed=1).uniform(16),
        draws(distortion=Distortion("corruption", "gaussian_noise", 4)).uniform(16),
        draws(index=range(8, 16)).uniform(16),
    ]
    values = torch.stack(samples).flatten()
    assert len(values.unique()) == len(values)


def split_mix_64(key: int, position: int) -> int:
    """The published generator, on Python's integers."""
    state = (key + position * 0x9E3779B97F4A7C15) % 2**64
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return state ^ (state >> 31)


def test_the_numbers_stay_what_they_are() -> None:
    """A published seed must give the same pixels in every later version."""
    text = b"0|gaussian_noise/3|7"
    key = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    bits = [split_mix_64(key, position) for position in (1, 2)]
    expected = [(b >> 40) / 2**24 for b in bits] + [(b % 2**32 >> 8) / 2**24 for b in bits]
    assert draws(index=range(7, 8)).uniform(4).tolist() == [expected]
