from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustbench_aa.antialiasing import BlurPool
from robustbench_aa.antialiasing.layers import PaddingMode
from robustbench_aa.antialiasing.polyphase import (
    LargestNorm,
    LearnedChoice,
    PolyphaseComponent,
    PolyphaseDownsample,
)

learned = pytest.mark.parametrize("learned", [False, True], ids=["aps", "lps"])
paddings = pytest.mark.parametrize("padding_mode", ["reflect", "replicate", "zero", "circular"])


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def shifts(size: int) -> list[tuple[int, int]]:
    return [(down, right) for down in range(size) for right in range(size)]


def test_every_image_keeps_its_component_of_largest_norm() -> None:
    x = torch.zeros(3, 2, 4, 4)
    x[0, 0, 1, 0] = -3  # component (1, 0) of image 0 against two smaller values at (0, 1)
    x[0, :, 2, 1] = 2
    x[1, 1, 3, 3] = 1  # component (1, 1) of image 1
    choice = LargestNorm()(x)
    assert choice.tolist() == [2, 3, 0]  # all components of image 2 are equal: the first
    y = PolyphaseDownsample(2)(x)
    assert torch.equal(y[0], x[0, :, 1::2, ::2])
    assert torch.equal(y[1], x[1, :, 1::2, 1::2])
    assert torch.equal(y[2], x[2, :, ::2, ::2])


@pytest.mark.parametrize("stride", [1, 2, 3, (1, 2), (4, 2)])
@pytest.mark.parametrize("size", [(12, 24), (24, 12)])
def test_the_norm_is_that_of_the_component(
    stride: int | tuple[int, int], size: tuple[int, int]
) -> None:
    x = noise(8, 3, *size)
    down, right = (stride, stride) if isinstance(stride, int) else stride
    found = PolyphaseDownsample(3, 1, stride)(x)
    for image, result in zip(x, found, strict=True):
        components = [image[:, i::down, j::right] for i in range(down) for j in range(right)]
        assert torch.equal(result, max(components, key=lambda one: one.norm().item()))


@learned
@pytest.mark.parametrize("filter_size", [1, 2, 3])
@pytest.mark.parametrize("stride", [2, 3, (1, 2)])
def test_the_result_follows_every_circular_shift(
    learned: bool, filter_size: int, stride: int | tuple[int, int]
) -> None:
    """The result of a shifted map is the shifted result: the same values in the same cycle."""
    x = noise(2, 3, 6, 12)
    layer = PolyphaseDownsample(3, filter_size, stride, "circular", learned=learned).double().eval()
    expected = layer(x)
    for shift in shifts(6):
        result = layer(x.roll(shift, (2, 3)))
        for image, before in zip(result, expected, strict=True):
            cycles = (before.roll(back, (1, 2)) for back in shifts(12))
            assert any(torch.allclose(image, cycle, atol=1e-12) for cycle in cycles)


def test_plain_subsampling_does_not_follow() -> None:
    x = noise(1, 1, 6, 6)
    moved = x.roll(1, 3)[..., ::2, ::2]
    before = x[..., ::2, ::2]
    assert not any(torch.allclose(moved, before.roll(back, (2, 3))) for back in shifts(6))


@learned
def test_a_shortcut_keeps_the_component_of_the_main_branch(learned: bool) -> None:
    """A block of two branches is equivariant only if both branches keep the same component."""

    class Block(nn.Module):
        def __init__(self, follow: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
            self.down = PolyphaseDownsample(4, 1, 2, "circular", learned=learned)
            self.skip_down = PolyphaseDownsample(3, 1, 2, "circular", learned=learned)
            self.skip = nn.Conv2d(3, 4, 1)
            self.follow = follow

        def forward(self, x: Tensor) -> Tensor:
            main, component = self.down.select(torch.relu(self.conv(x)))
            shortcut = self.skip_down(x, component if self.follow else None)
            return torch.relu(main + self.skip(shortcut)).mean((2, 3))

    x = noise(4, 3, 8, 8)
    moved = torch.cat([x.roll(shift, (2, 3)) for shift in shifts(3)])
    for follow in (True, False):
        block = Block(follow).double().eval()
        before = block(x).repeat(9, 1)
        assert torch.allclose(block(moved), before, atol=1e-12) == follow


@learned
@paddings
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (5, 5), (7, 4), (4, 7)])
def test_every_size_becomes_half_rounded_up(
    learned: bool, padding_mode: PaddingMode, size: tuple[int, int]
) -> None:
    x = noise(2, 3, *size)
    layer = PolyphaseDownsample(3, 1, 2, padding_mode, learned=learned).double().eval()
    y, component = layer.select(x)
    height, width = size
    assert y.shape == (2, 3, -(-height // 2), -(-width // 2))
    edge = {"circular": 0}.get(padding_mode, -1)  # what continues an odd map
    rows = [*range(height), edge][: height + height % 2]
    columns = [*range(width), edge][: width + width % 2]
    for image, result, chosen in zip(x[:, :, rows][..., columns], y, component, strict=True):
        assert torch.equal(result, image[:, chosen // 2 :: 2, chosen % 2 :: 2])


def test_a_blur_comes_before_the_choice() -> None:
    x = noise(4, 3, 8, 8)
    blurred = BlurPool(3, 3, 1).double()(x)
    found = PolyphaseDownsample(3, 3).double()(x)
    torch.testing.assert_close(found, PolyphaseDownsample(3)(blurred))


def test_the_first_component_is_plain_subsampling() -> None:
    x = noise(4, 3, 9, 8)
    first = torch.zeros(4, dtype=torch.int64)
    assert torch.equal(PolyphaseComponent()(x, first), x[:, :, ::2, ::2])
    weights = torch.tensor([[1.0, 0, 0, 0]]).expand(4, 4)
    assert torch.equal(PolyphaseComponent()(x, weights), x[:, :, ::2, ::2])


def test_a_learned_choice_trains_by_weights_and_evaluates_by_the_largest() -> None:
    layer = LearnedChoice(3, temperature=0.5).double()
    x = noise(16, 3, 8, 8)
    weights = layer(x)
    assert weights.shape == (16, 4)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(16, dtype=torch.float64))
    PolyphaseComponent()(x, weights).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in (layer.conv1.weight, layer.conv2.bias))
    assert torch.equal(layer.eval()(x), layer.logits(x).argmax(1))


def test_all_components_are_scored_by_the_same_network() -> None:
    layer = LearnedChoice(3).double()
    x = noise(2, 3, 8, 8)
    logits = layer.logits(x)
    for component in range(4):
        part = x[:, :, component // 2 :: 2, component % 2 :: 2]
        alone = layer.conv2(torch.relu(layer.conv1(part))).mean((1, 2, 3))
        torch.testing.assert_close(logits[:, component], alone)


@learned
def test_gradients_are_those_of_the_function(learned: bool) -> None:
    layer = PolyphaseDownsample(2, 3, learned=learned).double().eval()
    assert torch.autograd.gradcheck(layer, noise(2, 2, 5, 6).requires_grad_())


@learned
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_every_dtype_and_memory_format(
    learned: bool, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    x = noise(2, 4, 6, 8).to(dtype).contiguous(memory_format=memory_format)
    layer = PolyphaseDownsample(4, learned=learned).to(dtype).eval()
    y, component = layer.select(x)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=memory_format)
    assert torch.equal(y[0], x[0, :, component[0] // 2 :: 2, component[0] % 2 :: 2])


def test_large_values_of_half_precision_have_a_norm() -> None:
    x = torch.full((1, 1, 2, 2), 300.0, dtype=torch.float16)  # whose square is infinite
    x[0, 0, 1, 1] = 301.0
    assert LargestNorm()(x).tolist() == [3]


@learned
@pytest.mark.parametrize("convert", [torch.compile, torch.export.export])
def test_a_compiled_or_exported_layer_is_the_same(
    learned: bool, convert: Callable[..., object]
) -> None:
    layer = PolyphaseDownsample(3, 3, learned=learned).eval()
    x = noise(4, 3, 7, 8).float()
    if convert is torch.export.export:
        found = torch.export.export(layer, (x,)).module()(x)
    else:
        found = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    torch.testing.assert_close(found, layer(x))


def test_an_unknown_padding_mode_is_refused() -> None:
    for build in (LargestNorm, PolyphaseComponent, PolyphaseDownsample):
        with pytest.raises(ValueError, match="padding mode 'wrap' does not exist; choose from"):
            build(3, padding_mode="wrap")
