from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

from robustbench_aa.antialiasing import BlurPool, BlurPool1d, ConvBlurPool, MaxBlurPool
from robustbench_aa.antialiasing.layers import FILTER_SIZES, binomial
from robustbench_aa.antialiasing.windows import DenseMaxPool

SIGNAL = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
SCIPY_MODES = {"reflect": "mirror", "replicate": "nearest", "zero": "constant", "circular": "wrap"}

filter_sizes = pytest.mark.parametrize("filter_size", FILTER_SIZES)
padding_modes = pytest.mark.parametrize("padding_mode", SCIPY_MODES)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_papers_example_of_aliasing_in_a_max_pool() -> None:
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


@filter_sizes
def test_a_constant_stays_itself(filter_size: int) -> None:
    ones = torch.ones(1, 3, 16, 16)
    torch.testing.assert_close(BlurPool(3, filter_size)(ones), ones[..., ::2, ::2])


@pytest.mark.parametrize(
    ("filter_size", "expected"),
    [
        *((1, [1]), (2, [1, 1]), (3, [1, 2, 1]), (4, [1, 3, 3, 1]), (5, [1, 4, 6, 4, 1])),
        *((6, [1, 5, 10, 10, 5, 1]), (7, [1, 6, 15, 20, 15, 6, 1])),
    ],
)
def test_the_filters_are_the_published_ones(filter_size: int, expected: list[int]) -> None:
    assert np.allclose(np.array(binomial(filter_size)) * sum(expected), expected)
    layer = BlurPool(5, filter_size)
    assert layer.filt.shape == (5, 1, filter_size, filter_size)
    assert list(layer.state_dict()) == ["filt"]
    assert not list(layer.parameters())


@filter_sizes
@padding_modes
@pytest.mark.parametrize("pad_off", [0, 1])
@pytest.mark.parametrize("stride", [1, 2, 3, (1, 2)])
@pytest.mark.parametrize("size", [(15, 16), (8, 9)])
def test_equals_scipys_correlation(
    filter_size: int,
    padding_mode: str,
    pad_off: int,
    stride: int | tuple[int, int],
    size: tuple[int, int],
) -> None:
    x = noise(2, 3, *size)
    line, mode = np.array(binomial(filter_size)), SCIPY_MODES[padding_mode]
    # scipy pads by itself; pad_off is a wider picture
    wide = np.pad(x.numpy(), [(0, 0), (0, 0), (8, 8), (8, 8)], NUMPY_MODES[padding_mode])
    expected = wide
    for axis in (2, 3):
        # an even filter has no middle; scipy puts it at m // 2, the layer at (m − 1) // 2
        origin = -1 if filter_size % 2 == 0 else 0
        expected = ndimage.correlate1d(expected, line, axis, mode=mode, origin=origin)
    first, (down, right) = 8 - pad_off, (stride, stride) if isinstance(stride, int) else stride
    rows, columns = (slice(first, 8 + length + pad_off) for length in size)
    expected = expected[..., rows, columns][..., ::down, ::right]
    layer = BlurPool(3, filter_size, stride, padding_mode, pad_off).double()  # type: ignore[arg-type]
    for gradients in (True, False):  # these use different code
        with torch.set_grad_enabled(gradients):
            np.testing.assert_allclose(layer(x).numpy(), expected, atol=1e-12)


NUMPY_MODES = {"replicate": "edge", "zero": "constant", "circular": "wrap", "reflect": "reflect"}


@filter_sizes
@padding_modes
def test_one_dimension_is_a_line_of_two(filter_size: int, padding_mode: str) -> None:
    x = noise(2, 3, 17)
    line = BlurPool1d(3, filter_size, 2, padding_mode).double()  # type: ignore[arg-type]
    plane = BlurPool(3, filter_size, (1, 2), padding_mode).double()  # type: ignore[arg-type]
    if padding_mode == "zero":  # rows beside the picture are black, not copies of it
        plane.filt = plane.filt.sum(2, keepdim=True).expand_as(plane.filt) * 0
        plane.filt[:, :, (filter_size - 1) // 2] = line.filt
    copies = x.unsqueeze(2).repeat(1, 1, 9, 1)
    torch.testing.assert_close(line(x), plane(copies)[:, :, 4])


@filter_sizes
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_shifts_by_the_stride_move_the_result_with_circular_padding(
    filter_size: int, stride: int
) -> None:
    x = noise(1, 2, 16, 16)
    layer = BlurPool(2, filter_size, stride, "circular").double()
    moved = layer(x.roll((stride, -stride), (2, 3)))
    assert torch.equal(moved, layer(x).roll((1, -1), (2, 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("cast", [True, False], ids=["cast", "input-only"])
@padding_modes
def test_every_dtype_and_memory_format(
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    cast: bool,
    gradients: bool,
    padding_mode: str,
) -> None:
    x = noise(2, 8, 15, 16)
    layer = BlurPool(8, 5, 2, padding_mode)  # type: ignore[arg-type]
    expected = BlurPool(8, 5, 2, padding_mode).double()(x)  # type: ignore[arg-type]
    given = x.to(dtype).contiguous(memory_format=memory_format)
    with torch.set_grad_enabled(gradients):
        found = (layer.to(dtype) if cast else layer)(given)
    assert found.dtype == dtype
    # torch's own circular padding always gives the contiguous format
    assert found.is_contiguous(memory_format=memory_format) or padding_mode == "circular"
    tolerance = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


@given(
    st.sampled_from(FILTER_SIZES),
    st.tuples(st.integers(7, 140), st.integers(7, 140)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.sampled_from(["reflect", "replicate", "zero"]),
    st.integers(-1, 2),
    st.booleans(),
)
def test_every_size_is_the_same_with_and_without_gradients(
    filter_size: int,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding_mode: str,
    pad_off: int,
    channels_last: bool,
) -> None:
    layer = BlurPool(2, filter_size, stride, padding_mode, pad_off)  # type: ignore[arg-type]
    x = noise(1, 2, *size).float()
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        found = layer(x)
    torch.testing.assert_close(found, layer(x), atol=1e-6, rtol=1e-5)


def test_a_filter_that_is_not_separable_is_applied_as_it_is() -> None:
    layer = BlurPool(2, 3)
    layer.filt[1] = torch.eye(3) / 3
    x = noise(1, 2, 16, 16).float()
    with torch.no_grad():
        found = layer(x)
    torch.testing.assert_close(found, layer(x))


def test_autocast_runs_it_in_the_lower_precision() -> None:
    layer, x = BlurPool(3), torch.randn(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


@pytest.mark.parametrize("autocast", [False, True])
def test_training_in_bfloat16_computes_in_float32(autocast: bool) -> None:
    """On a CPU, where gradients in bfloat16 are slow: the values are those of float32, rounded."""
    layer = BlurPool(3, filter_size=5)
    x = noise(2, 3, 12, 12).bfloat16().requires_grad_()
    exact = x.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = layer(x)
    assert found.dtype == torch.bfloat16
    gradient = noise(*found.shape).bfloat16()
    found.backward(gradient)
    expected = layer(exact)
    expected.backward(gradient.float())
    assert torch.equal(found, expected.bfloat16())
    assert x.grad is not None
    assert exact.grad is not None
    assert torch.equal(x.grad, exact.grad.bfloat16())


@padding_modes
def test_gradients(padding_mode: str) -> None:
    layer = BlurPool(2, 4, 2, padding_mode).double()  # type: ignore[arg-type]
    assert torch.autograd.gradcheck(layer, noise(1, 2, 5, 6).requires_grad_())
    pool = MaxBlurPool(2, 3, 3, ceil_mode=True).double()
    assert torch.autograd.gradcheck(pool, noise(1, 2, 8, 7).requires_grad_())


def test_the_whole_graph_compiles_and_exports() -> None:
    module = nn.Sequential(MaxBlurPool(3, 3, 4, ceil_mode=True), BlurPool(3, 5)).eval()
    x = torch.randn(2, 3, 33, 32)
    expected = module(x)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    exported = torch.export.export(module, (x,)).module()
    torch.testing.assert_close(exported(x), expected)


pairs = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2))


@given(pairs, st.integers(5, 20), st.booleans(), st.integers(1, 7))
def test_a_max_blur_pool_has_the_size_of_its_max_pool(
    pool: tuple[int, int, int, int], size: int, ceil_mode: bool, filter_size: int
) -> None:
    kernel, stride, padding, dilation = pool
    assume(padding <= kernel // 2 and dilation * (kernel - 1) < size)
    plain = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode)
    arguments = (kernel, filter_size, stride, padding, dilation, ceil_mode, "replicate")
    smooth = MaxBlurPool(1, *arguments)  # type: ignore[arg-type]
    x = torch.randn(1, 1, size, size + 1)
    assert smooth(x).shape == plain(x).shape
    assert smooth(x).isfinite().all()
    if filter_size == 1:
        assert torch.equal(smooth(x), plain(x))


@given(pairs, st.integers(5, 20), st.booleans())
def test_the_dense_maximum_is_torchs(
    pool: tuple[int, int, int, int], size: int, channels_last: bool
) -> None:
    kernel, _, padding, dilation = pool
    assume(padding <= kernel // 2 and dilation * (kernel - 1) < size)
    x = torch.randn(2, 3, size, size + 1)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    expected = nn.MaxPool2d(kernel, 1, padding, dilation)(x)
    dense = DenseMaxPool(kernel, padding, dilation)
    assert torch.equal(dense(x), expected)
    with torch.no_grad():
        assert torch.equal(dense(x), expected)


def test_conv_blur_pool_blurs_after_the_non_linearity() -> None:
    layer = ConvBlurPool(3, 8, 3, filter_size=3)
    convolution, relu, blur = layer
    x = torch.randn(1, 3, 16, 16)
    assert layer(x).shape == (1, 8, 8, 8)
    torch.testing.assert_close(layer(x), blur(relu(convolution(x))))
    assert convolution.stride == (1, 1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (1, 4, 8, 8),
            r"of 3 channels takes 4 axes, not an input of shape \(1, 4, 8, 8\)",
        ),
        ((3, 8, 8), r"takes 4 axes, not an input of shape \(3, 8, 8\)"),
        ((1, 3, 8, 2), r"shape \(1, 3, 8, 2\) is too small for reflect padding by 2; use repl"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlurPool(3, 5)(torch.zeros(shape))


def test_arguments_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="filter size 8 does not exist; choose from 1 to 7"):
        BlurPool(3, 8)
    with pytest.raises(ValueError, match="padding mode 'mirror' does not exist; choose from refl"):
        BlurPool(3, padding_mode="mirror")  # type: ignore[arg-type]


def test_a_changed_filter_takes_effect_at_once() -> None:
    layer, other = BlurPool(3, 3), BlurPool(3, 3)
    x = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        before = layer(x)
    other.filt.fill_(1 / 9)
    layer.load_state_dict(other.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), other(x))
        assert not torch.allclose(layer(x), before)
    layer(x.requires_grad_()).sum().backward()


def test_the_printed_form_has_the_arguments() -> None:
    assert repr(BlurPool(3)) == "BlurPool(3, filter_size=4, stride=2)"
    assert "stride=(1, 2), padding_mode=zero" in repr(BlurPool(3, 2, (1, 2), "zero"))
