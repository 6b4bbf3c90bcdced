"""Every method as a conversion of whole networks."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_aa.antialiasing import Conversion, convert, replacements
from robustbench_aa.antialiasing.conversion import METHODS
from robustbench_aa.antialiasing.polyphase import LargestNorm, LearnedChoice
from robustbench_aa.errors import ConversionError, UnknownName

methods = pytest.mark.parametrize("method", METHODS)
FORMS = ["lpf3", "aps", "aps3", "lps", "flc", "asap", "ddac"]
forms = pytest.mark.parametrize("short", [*FORMS, *(f"{form}-circular" for form in FORMS)])


class Block(nn.Module):
    """A residual block whose shortcut averages, before its convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(self.pool(x))
        main = self.second(F.relu(self.norm(self.first(x))))
        return F.relu(shortcut + main)


def network() -> nn.Sequential:
    """A small network with every kind of downsampling."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        *(Block(8, 16), nn.Conv2d(16, 16, 3, 1, 1), nn.Hardswish()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 32, 32))
    return model.eval()


def images(height: int = 32, width: int = 32) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@forms
def test_the_weights_stay_and_only_learned_methods_have_new_ones(short: str) -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    smooth = convert(model, Conversion.parse(short), 32)
    after = smooth.state_dict()
    for key, tensor in before.items():
        assert torch.equal(model.state_dict()[key], tensor)
        assert torch.equal(after[key], tensor)
    new = {name for name, _ in smooth.named_parameters()} - {n for n, _ in model.named_parameters()}
    assert bool(new) == short.startswith(("lps", "ddac"))
    with torch.no_grad():
        assert not torch.allclose(smooth(images()), model(images()))


@forms
def test_a_state_dict_comes_back(short: str) -> None:
    smooth = convert(network(), Conversion.parse(short), 32)
    with torch.no_grad():
        for parameter in smooth.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    again = convert(network(), Conversion.parse(short), 32)
    again.load_state_dict(smooth.state_dict())
    with torch.no_grad():
        assert torch.equal(again(images()), smooth(images()))


@methods
def test_new_parameters_are_reproducible_and_the_random_state_stays(method: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    model = network()
    torch.manual_seed(5)
    one = convert(model, Conversion(method=method), 32)
    assert torch.equal(torch.rand(1), expected)
    two = convert(model, Conversion(method=method), 32)
    assert all(map(torch.equal, one.state_dict().values(), two.state_dict().values()))


@pytest.mark.parametrize("short", ["lpf1-firstconv", "ddac1-firstconv", "aps", "lps"])
def test_identity_settings_give_the_plain_network(
    short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter of one pixel filters nothing; the first component is plain subsampling."""

    def first(module: nn.Module, x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.int64)

    monkeypatch.setattr(LargestNorm, "forward", first)
    monkeypatch.setattr(LearnedChoice, "forward", first)
    model = network()
    model[4].pool = nn.Identity()  # a filter of one pixel is no average
    model[4].shortcut.stride = (2, 2)
    smooth = convert(model, Conversion.parse(short), 32)
    for size in (32, 35):
        x = images(size, size)
        torch.testing.assert_close(smooth(x), model(x))


@pytest.mark.parametrize("short", FORMS)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (40, 35), (17, 64)])
def test_every_size_is_accepted(short: str, size: tuple[int, int]) -> None:
    for padding in ("", "-circular"):
        smooth = convert(network(), Conversion.parse(short + padding), 32)
        with torch.no_grad():
            assert smooth(images(*size)).isfinite().all()


@pytest.mark.parametrize("short", ["lpf3-circular", "aps3", "lps-circular", "flc", "ddac"])
def test_compiled_exported_and_in_channels_last_it_is_the_same(short: str) -> None:
    smooth = convert(network(), Conversion.parse(short), 32)
    x = images()
    with torch.no_grad():
        expected = smooth(x)
        last = smooth(x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(last, expected, atol=1e-5, rtol=1e-4)
        exported = torch.export.export(smooth, (x,)).module()
        torch.testing.assert_close(exported(x), expected, atol=1e-5, rtol=1e-4)
        torch._dynamo.reset()
        compiled = torch.compile(smooth, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), expected, atol=1e-5, rtol=1e-4)


@forms
def test_autocast_changes_only_the_precision(short: str) -> None:
    smooth = convert(network(), Conversion.parse(short), 32)
    with torch.no_grad():
        expected = smooth(images())
        with torch.autocast("cpu", torch.bfloat16):
            found = smooth(images())
    assert found.dtype == torch.bfloat16
    assert (found - expected).norm() < 0.1 * expected.norm()


@forms
def test_it_trains(short: str) -> None:
    smooth = convert(network().train(), Conversion.parse(short), 32)
    assert smooth.training
    smooth(images()).square().sum().backward()
    for name, parameter in smooth.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("method", ["aps", "lps"])
def test_the_shortcut_follows_the_main_branch_even_if_it_comes_first(method: str) -> None:
    smooth = convert(network(), Conversion(method=method), 32)
    found = {one.where: one.now for one in replacements(smooth)}
    assert found["4.pool"] == "dense 2×2 average, component of 4.first"
    choices = sorted(name for name, _ in smooth.named_modules() if name.endswith("_choice"))
    assert choices == ["0_choice", "3_choice", "4.first_choice"]


class Padded(nn.Module):
    """A block whose shortcut skips places and pads channels, as in ResNets for CIFAR."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 3))
        return (self.second(F.relu(self.first(x))) + shortcut).square().mean((2, 3))


def test_a_shortcut_that_skips_places_follows_the_main_branch() -> None:
    smooth = convert(Padded().eval(), Conversion.parse("aps-circular"), 16)
    found = {one.where: one.now for one in replacements(smooth)}
    assert found["getitem"] == "component of first"
    assert not any(now.startswith("left alone") for now in found.values())
    x = images(16, 16)
    with torch.no_grad():
        for shift in ((0, 1), (1, 0), (3, 5)):
            torch.testing.assert_close(smooth(x.roll(shift, (2, 3))), smooth(x))
    blurred = convert(Padded(), Conversion(first_conv=True), 16)
    found = {one.where: one.now for one in replacements(blurred)}
    assert found["getitem"] == "left alone: no rule for it"


def test_replacements_say_what_was_done() -> None:
    smooth = convert(network(), Conversion(3, method="aps", padding_mode="circular"), 32)
    blur = "filter_size=3, stride=1, padding_mode=circular, pad_off=0"
    choice = "LargestNorm(stride=2, padding_mode=circular)"
    assert [str(one) for one in replacements(smooth)] == [
        f"0: 3×3 convolution of stride 2×2 → stride 1×1, BlurPool(8, {blur}), {choice}",
        f"3: 3×3 max-pool of stride 2×2 → dense 3×3 max-pool, BlurPool(8, {blur}), {choice}",
        f"4.pool: 2×2 average pool of stride 2×2 → BlurPool(8, {blur}), component of 4.first",
        f"4.first: 3×3 convolution of stride 2×2 → stride 1×1, BlurPool(16, {blur}), {choice}",
        "all convolutions: padding of 4 → circular padding",
    ]
    smooth = convert(network(), Conversion(method="flc"), 32)
    assert str(replacements(smooth)[-1]) == (
        "4.first: 3×3 convolution of stride 2×2 → stride 1×1, FourierPool(stride=2, window=False)"
    )


def test_branches_that_cannot_share_a_component_are_listed() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.once = nn.Conv2d(3, 3, 1, 4)
            self.twice = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.once(x) + self.twice(x)

    (*_, last) = replacements(convert(Twice(), Conversion(method="aps"), 32))
    assert str(last) == (
        "add: meeting of branches → left alone: its branches were subsampled in different steps"
    )


class Paddings(nn.Module):
    """Every kind of padding, and a map whose places reach the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d(1)
        self.conv = nn.Conv2d(3, 4, 3)
        self.largest = nn.MaxPool2d(3, 1, 1)
        self.reflect = nn.Conv2d(4, 4, 5, padding=2, padding_mode="reflect")
        self.wide = nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4 * 8 * 8, 10)

    def features(self, x: Tensor) -> Tensor:
        x = self.largest(self.conv(self.pad(x)))
        x = self.wide(F.pad(self.reflect(x), (1, 1, 1, 1)))
        x = F.avg_pool2d(x, 3, 1, 1)
        return F.max_pool2d(x, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))


def test_every_padding_becomes_circular() -> None:
    smooth = convert(Paddings().eval(), Conversion.parse("aps-circular"), 16)
    assert [str(one) for one in replacements(smooth)[1:]] == [
        "all convolutions: padding of 1 → circular padding",
        "pad: ZeroPad2d → CircularPad2d",
        "largest: padding of a pool of stride 1 → circular padding",
        "pad_1: padding → circular padding",
        "avg_pool2d: padding of a pool of stride 1 → circular padding",
        "flatten: flattening of a map → left alone: not exactly invariant, the classifier knows "
        "each place",
    ]

    class Features(Paddings):
        def forward(self, x: Tensor) -> Tensor:
            return self.features(x).mean((2, 3))

    x = images(16, 16)
    plain = Features().eval()
    for short, equal in (("aps-circular", True), ("aps", False)):
        smooth = convert(plain, Conversion.parse(short), 16)
        same = torch.allclose(smooth(x.roll((3, 5), (2, 3))), smooth(x), atol=1e-5)
        assert same == equal


def test_two_paddings_in_a_row_are_listed() -> None:
    model = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 3, 5, padding=1), nn.MaxPool2d(2))
    (*_, last) = replacements(convert(model, Conversion.parse("aps-circular"), 16))
    assert str(last) == (
        "1: Conv2d → left alone: not exactly invariant, it shrinks the map at its border"
    )


@pytest.mark.parametrize("kernel", [2, 3])
def test_a_circular_max_pool_takes_values_from_the_other_side(kernel: int) -> None:
    model = nn.Sequential(nn.MaxPool2d(kernel, 2, (kernel - 1) // 2))
    x = images(8, 8)
    smooth = convert(model, Conversion(1, padding_mode="circular"), 8)
    before = (kernel - 1) // 2
    wide = F.pad(x, (before, kernel - 1 - before) * 2, mode="circular")
    assert torch.equal(smooth(x), F.max_pool2d(wide, kernel, 2))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "aqs"}, UnknownName, "unknown anti-aliasing method 'aqs'; did you mean aps"),
        ({"method": "flc", "filter_size": 3}, ValueError, "flc has no filter; omit the filter"),
        ({"filter_size": 8}, ValueError, "filter size 8 does not exist for blur; choose from 1"),
        ({"method": "ddac", "filter_size": 4}, ValueError, "does not exist for ddac; choose from"),
        ({"padding_mode": "wrap"}, ValueError, "padding mode 'wrap' does not exist"),
    ],
)
def test_options_that_do_not_exist_are_refused(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        dataclasses.replace(Conversion(), **{"filter_size": None, **options})  # type: ignore[arg-type]


def test_a_map_too_small_for_circular_padding_is_refused() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 3, 11, padding=5))
    with pytest.raises(ConversionError, match="fails after its conversion: Padding value causes"):
        convert(model, Conversion(padding_mode="circular"), 8)
