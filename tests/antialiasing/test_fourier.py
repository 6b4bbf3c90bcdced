from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustbench_aa.antialiasing.fourier import FourierPool, low_pass_matrix

sizes = pytest.mark.parametrize("size", [(8, 8), (10, 12), (7, 9), (5, 16), (1, 2), (3, 4)])
windows = pytest.mark.parametrize("window", [False, True], ids=["flc", "asap"])


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def wave(size: int, frequency: int, phase: float, places: int) -> Tensor:
    """A cosine with `frequency` periods along an axis, sampled at equal distances."""
    x = torch.arange(places, dtype=torch.float64) / places
    return torch.cos(2 * math.pi * frequency * x + phase)


def by_numpy(x: np.ndarray, stride: int, window: bool) -> np.ndarray:
    """The definition: transform, cut the frequencies, transform back at the smaller size."""
    for axis in (2, 3):
        size = x.shape[axis]
        small = math.ceil(size / stride)
        spectrum = np.fft.fft(x, axis=axis)
        limit = small / 2
        kept = np.zeros((*np.delete(x.shape, axis), small), complex)
        for k in range(-small, small + 1):
            if abs(k) < limit:
                gain = 0.54 + 0.46 * math.cos(math.pi * k / limit) if window else 1.0
                kept[..., k] = gain * spectrum.take(k % size, axis)
        x = np.moveaxis(np.fft.ifft(kept).real * small / size, -1, axis)
    return x


@windows
@sizes
@pytest.mark.parametrize("stride", [2, 3])
def test_equals_the_cut_of_numpys_transform(
    window: bool, size: tuple[int, int], stride: int
) -> None:
    x = noise(2, 3, *size)
    found = FourierPool(stride, window=window)(x)
    np.testing.assert_allclose(found, by_numpy(x.numpy(), stride, window), atol=1e-12)


@windows
@pytest.mark.parametrize("size", [8, 9, 14, 28, 7])
def test_a_frequency_below_the_limit_is_sampled_and_one_above_is_gone(
    window: bool, size: int
) -> None:
    """Exact: no part of a wave above the limit appears as a lower one."""
    small = math.ceil(size / 2)
    matrix = low_pass_matrix(size, 2, window)
    for k, phase in itertools.product(range(size // 2 + 1), (0.0, 1.0)):
        gain = 0.54 + 0.46 * math.cos(2 * math.pi * k / small) if window else 1.0
        expected = gain * wave(size, k, phase, small) if 2 * k < small else torch.zeros(small)
        torch.testing.assert_close(
            matrix @ wave(size, k, phase, size), expected.double(), atol=1e-12, rtol=0
        )


def test_plain_subsampling_turns_a_frequency_above_the_limit_into_a_lower_one() -> None:
    assert torch.allclose(wave(8, 3, 0.0, 8)[::2], wave(8, 1, 0.0, 4))


@windows
@sizes
def test_the_mean_stays_and_a_constant_stays_itself(window: bool, size: tuple[int, int]) -> None:
    x = noise(2, 3, *size)
    y = FourierPool(window=window)(x)
    torch.testing.assert_close(y.mean((2, 3)), x.mean((2, 3)))
    ones = torch.ones(1, 1, *size)
    torch.testing.assert_close(FourierPool(window=window)(ones), torch.ones(1, 1, *y.shape[2:]))


@windows
def test_a_shift_by_the_stride_moves_the_result(window: bool) -> None:
    x, layer = noise(1, 2, 12, 20), FourierPool(window=window)
    moved = layer(x.roll((2, -4), (2, 3)))
    torch.testing.assert_close(moved, layer(x).roll((1, -2), (2, 3)))


@windows
def test_a_shift_by_one_moves_the_result_by_half_a_pixel(window: bool) -> None:
    """Two such halves are one whole: downsampling again with a shift between loses nothing."""
    x, layer = noise(1, 2, 12, 12), FourierPool(window=window)
    spectra = (torch.fft.rfft2(layer(x.roll(shift, 3))) for shift in (0, 1))
    before, after = (spectrum[..., :3] for spectrum in spectra)
    turn = torch.exp(-2j * math.pi * torch.arange(3, dtype=torch.float64) * 0.5 / 6)
    torch.testing.assert_close(after, before * turn)


def test_a_stride_of_one_changes_nothing() -> None:
    x = noise(2, 3, 5, 8)
    assert torch.equal(FourierPool(1)(x), x)
    assert torch.equal(FourierPool((1, 2))(x), x @ low_pass_matrix(8, 2).T)


@given(st.integers(1, 70), st.integers(2, 5), st.booleans())
def test_every_size_keeps_the_mean(size: int, stride: int, window: bool) -> None:
    matrix = low_pass_matrix(size, stride, window)
    assert matrix.shape == (math.ceil(size / stride), size)
    torch.testing.assert_close(matrix.sum(1), torch.ones(len(matrix), dtype=torch.float64))


@windows
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_every_dtype_and_memory_format(
    window: bool, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    x = noise(2, 4, 15, 16)
    layer = FourierPool(window=window)
    found = layer(x.to(dtype).contiguous(memory_format=memory_format))
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=memory_format)
    tolerance = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), layer(x), atol=tolerance, rtol=tolerance)


@windows
def test_gradients_are_those_of_the_function(window: bool) -> None:
    layer = FourierPool(window=window)
    assert torch.autograd.gradcheck(layer, noise(2, 2, 5, 6).requires_grad_())


@windows
def test_a_compiled_or_exported_layer_is_the_same(window: bool) -> None:
    layer, x = FourierPool(window=window), noise(2, 3, 9, 8).float()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))


def test_the_layer_has_no_state() -> None:
    layer = FourierPool()
    layer(noise(1, 1, 4, 4))
    assert not layer.state_dict()
