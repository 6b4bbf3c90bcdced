from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from robustbench_aa.antialiasing import BlurPool, MaxBlurPool
from robustbench_aa.antialiasing.blurpool import FILTER_SIZES, binomial

SIGNAL = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]


def test_the_papers_example_of_what_max_pooling_loses() -> None:
    signal = torch.tensor(SIGNAL).expand(1, 1, 2, 8)
    pool = nn.MaxPool2d(2)
    assert pool(signal)[0, 0, 0].tolist() == [0, 1, 0, 1]
    assert pool(signal.roll(-1, -1))[0, 0, 0].tolist() == [1, 1, 1, 1]


def test_the_papers_example_anti_aliased_differs_less_between_the_two_phases() -> None:
    signal = torch.tensor(SIGNAL).repeat(1, 1, 8, 3)
    pool = MaxBlurPool(1, 2, filter_size=3)
    here, there = (pool(s)[0, 0, 2, 2:-2] for s in (signal, signal.roll(-1, -1)))
    assert here.tolist() == [0.5, 1.0] * 4
    assert there.tolist() == [0.75] * 8


@pytest.mark.parametrize("filter_size", FILTER_SIZES)
def test_a_constant_stays_itself(filter_size: int) -> None:
    ones = torch.ones(1, 3, 16, 16)
    torch.testing.assert_close(BlurPool(3, filter_size)(ones), ones[..., ::2, ::2])


@pytest.mark.parametrize(
    ("filter_size", "expected"),
    [(1, [1]), (2, [1, 1]), (3, [1, 2, 1]), (4, [1, 3, 3, 1]), (5, [1, 4, 6, 4, 1])],
)
def test_the_filters_are_the_published_ones(filter_size: int, expected: list[int]) -> None:
    assert np.allclose(np.array(binomial(filter_size)) * sum(expected), expected)


@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("filter_size", FILTER_SIZES)
def test_equals_scipys_correlation(filter_size: int, stride: int, size: int) -> None:
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).double()
    line = np.array(binomial(filter_size))
    expected = x.numpy()
    for axis in (2, 3):
        # an even filter has no middle; scipy puts it at m // 2, the layer at (m − 1) // 2
        origin = -1 if filter_size % 2 == 0 else 0
        expected = ndimage.correlate1d(expected, line, axis, mode="mirror", origin=origin)
    found = BlurPool(3, filter_size, stride).double()(x)
    np.testing.assert_allclose(found.numpy(), expected[..., ::stride, ::stride], atol=1e-12)


def test_an_unknown_filter_size_is_refused() -> None:
    with pytest.raises(ValueError, match="filter size 8 does not exist; choose from 1 to 7"):
        BlurPool(3, 8)
