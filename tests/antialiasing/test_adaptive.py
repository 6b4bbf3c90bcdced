from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_aa.antialiasing import AdaptiveBlurPool
from robustbench_aa.antialiasing.adaptive import FILTER_SIZES
from robustbench_aa.antialiasing.layers import PaddingMode

filter_sizes = pytest.mark.parametrize("filter_size", FILTER_SIZES)
paddings = pytest.mark.parametrize("padding_mode", ["reflect", "replicate", "zero", "circular"])
TORCH = {"reflect": "reflect", "replicate": "replicate", "zero": "constant", "circular": "circular"}


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def sharpened(layer: AdaptiveBlurPool) -> AdaptiveBlurPool:
    """The layer in float64 with large random weights, so that filters differ by place."""
    torch.manual_seed(0)
    nn.init.normal_(layer.predict.weight, 0.0, 1.0)
    return layer.double()


@filter_sizes
@paddings
def test_filters_are_positive_with_sum_1_and_differ_by_place(
    filter_size: int, padding_mode: PaddingMode
) -> None:
    layer = sharpened(AdaptiveBlurPool(8, filter_size, 2, padding_mode, groups=4))
    filters = layer.filters(noise(2, 8, 9, 12))
    assert filters.shape == (2, 4, filter_size**2, 5, 6)
    assert (filters > 0).all()
    torch.testing.assert_close(filters.sum(2), torch.ones(2, 4, 5, 6, dtype=torch.float64))
    assert filter_size == 1 or filters.std((0, 1, 3, 4)).min() > 0.01


@filter_sizes
@paddings
@pytest.mark.parametrize("stride", [1, 2, (1, 2)])
def test_every_place_is_the_weighted_mean_of_its_window(
    filter_size: int, padding_mode: PaddingMode, stride: int | tuple[int, int]
) -> None:
    layer = sharpened(AdaptiveBlurPool(4, filter_size, stride, padding_mode, groups=2))
    x = noise(2, 4, 9, 8)
    down, right = (stride, stride) if isinstance(stride, int) else stride
    half = filter_size // 2
    padded = F.pad(x, (half,) * 4, mode=TORCH[padding_mode])
    filters, y = layer.filters(x), layer(x)
    assert y.shape == (2, 4, -(-9 // down), -(-8 // right))
    for channel, row, column in [(0, 0, 0), (1, 2, 3), (2, y.shape[2] - 1, 1), (3, 1, 2)]:
        top, left = row * down, column * right
        window = padded[:, channel, top : top + filter_size, left : left + filter_size]
        expected = (window.flatten(1) * filters[:, channel // 2, :, row, column]).sum(1)
        torch.testing.assert_close(y[:, channel, row, column], expected)


def test_a_filter_of_one_is_plain_subsampling() -> None:
    x = noise(2, 4, 9, 8)
    torch.testing.assert_close(AdaptiveBlurPool(4, 1).double()(x), x[:, :, ::2, ::2])


def test_a_constant_stays_itself_and_extremes_stay_within_their_range() -> None:
    layer = sharpened(AdaptiveBlurPool(4))
    ones = torch.ones(1, 4, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(ones), ones[..., ::2, ::2])
    x = noise(2, 4, 16, 16)
    assert layer(x).amax() < x.amax()
    assert layer(x).amin() > x.amin()


@pytest.mark.parametrize(("channels", "groups"), [(16, 8), (12, 4), (3, 1)])
def test_groups_divide_the_channels(channels: int, groups: int) -> None:
    layer = AdaptiveBlurPool(channels)
    assert layer.groups == groups
    assert layer(torch.randn(1, channels, 8, 8)).shape == (1, channels, 4, 4)


def test_shifts_by_the_stride_move_the_result_with_circular_padding() -> None:
    layer = sharpened(AdaptiveBlurPool(4, 5, 2, "circular"))
    x = noise(1, 4, 8, 12)
    moved = layer(x.roll((2, -4), (2, 3)))
    torch.testing.assert_close(moved, layer(x).roll((1, -2), (2, 3)))


def test_gradients_are_those_of_the_function() -> None:
    layer = sharpened(AdaptiveBlurPool(2, groups=2))
    assert torch.autograd.gradcheck(layer, noise(1, 2, 5, 6).requires_grad_())
    layer(noise(1, 2, 5, 6)).square().sum().backward()
    assert layer.predict.weight.grad is not None
    assert layer.predict.weight.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_every_dtype_and_memory_format(
    dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    layer = sharpened(AdaptiveBlurPool(8))
    x = noise(2, 8, 15, 16).to(dtype)
    expected = layer(x.double())
    found = layer.to(dtype)(x.contiguous(memory_format=memory_format))
    assert found.dtype == dtype
    tolerance = 64 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


def test_a_filter_size_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="filter size 4 does not exist; choose from 1, 3, 5, 7"):
        AdaptiveBlurPool(3, 4)
