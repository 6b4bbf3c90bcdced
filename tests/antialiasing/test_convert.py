from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from robustbench_aa import antialias, load
from robustbench_aa.antialiasing import BlurPool, Conversion, convert, replacements
from robustbench_aa.errors import ConversionError
from robustbench_aa.models.digits_networks import ResNet
from tests.conftest import make_classifier

FAMILIES = {
    "resnet18": 8,
    "resnext50_32x4d": 8,
    "wide_resnet50_2": 8,
    "regnet_y_400mf": 9,
    "densenet121": 5,
    "vgg11_bn": 5,
    "alexnet": 4,
    "squeezenet1_1": 4,
    "mobilenet_v2": 5,
    "mobilenet_v3_small": 5,
    "efficientnet_b0": 5,
    "efficientnet_v2_s": 5,
    "shufflenet_v2_x0_5": 8,
    "mnasnet0_5": 5,
    "googlenet": 5,
    "inception_v3": 9,
    "convnext_tiny": 4,
}
"""A network of each family of torchvision → its number of downsamplings."""

SMALL = Conversion(filter_size=3)


def torchvision_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, weights=None, **extra).eval()


@pytest.mark.parametrize(("name", "count"), FAMILIES.items())
def test_every_family_of_torchvision(name: str, count: int) -> None:
    size = 299 if name == "inception_v3" else 128
    model = torchvision_model(name)
    before = copy.deepcopy(model.state_dict())
    smooth = convert(model, Conversion(4), size)
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        assert smooth(x).shape == model(x).shape
        assert not torch.equal(smooth(x), model(x))
    assert len(replacements(smooth)) == count
    after = smooth.state_dict()
    for key, tensor in before.items():
        assert torch.equal(model.state_dict()[key], tensor)
        assert key.startswith(("aux", "AuxLogits")) or torch.equal(after[key], tensor)
    assert all(key in before or key.endswith("filt") for key in after)


@pytest.mark.parametrize("filter_size", [2, 3, 5])
def test_the_embedded_networks_are_their_plain_form_converted(filter_size: int) -> None:
    """A converted network equals the network that was built with blurs, with the same weights."""
    smooth = load(f"digits:resnet@lpf{filter_size}").module
    plain = ResNet(None).eval()
    plain.load_state_dict(
        dict(zip(plain.state_dict(), without_filters(smooth).values(), strict=True))
    )
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(convert(plain, Conversion(filter_size), 32)(x), smooth(x))


def without_filters(module: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in module.state_dict().items() if not k.endswith("filt")}


class Functional(nn.Module):
    """A network with pools as functions, a shared pool, a dropout, and a ReLU without a module."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.first(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = F.relu(self.second(x))
        x = self.pool(F.avg_pool2d(x, 2))
        return self.head(self.drop(F.adaptive_avg_pool2d(x, 1).flatten(1)))


def test_functional_calls_and_shared_pools_are_found() -> None:
    found = [str(line) for line in replacements(convert(Functional(), SMALL, 64))]
    blur = "BlurPool(8, filter_size=3, stride=2)"
    assert found == [
        f"pool: 2×2 max-pool of stride 2×2 → dense 2×2 max-pool, {blur}",
        f"max_pool2d: 3×3 max-pool of stride 2×2 → dense 3×3 max-pool, {blur}",
        f"second: 3×3 convolution of stride 2×2 → stride 1×1, {blur}",
        f"avg_pool2d: 2×2 average pool of stride 2×2 → {blur}",
        f"pool: 2×2 max-pool of stride 2×2 → dense 2×2 max-pool, {blur}",
    ]


def test_the_blur_comes_after_the_non_linearity() -> None:
    model = Functional().eval()
    smooth = convert(model, SMALL, 64)
    blur, x = BlurPool(8, 3), torch.randn(2, 3, 64, 64)
    y = blur(F.max_pool2d(F.relu(model.first(x)), 2, 1))
    y = blur(F.max_pool2d(y, 3, 1, 1))
    y = blur(F.relu(F.conv2d(y, model.second.weight, model.second.bias, padding=1)))
    y = blur(F.max_pool2d(blur(y), 2, 1))
    torch.testing.assert_close(smooth(x), model.head(y.mean((2, 3))))


def test_a_converted_network_trains_and_switches_its_modes() -> None:
    smooth = convert(Functional().train(), SMALL, 64)
    assert smooth.training
    x = torch.randn(2, 3, 64, 64)
    assert not torch.equal(smooth(x), smooth(x))  # dropout is on
    smooth.eval()
    assert torch.equal(smooth(x), smooth(x))
    smooth(x).sum().backward()
    assert all(parameter.grad is not None for parameter in smooth.parameters())


def test_the_first_convolution_is_left_alone_unless_asked_for() -> None:
    model = torchvision_model("alexnet")
    (first, *_) = replacements(convert(model, SMALL, 128))
    assert first.now == "left alone: first high-resolution stage"
    (first, *_) = replacements(convert(model, Conversion(3, first_conv=True), 128))
    assert first.now == "stride 2×2, BlurPool(64, filter_size=3, stride=2)"


def test_the_kernel_of_max_pools_can_be_the_published_one() -> None:
    model = torchvision_model("resnet18")
    found = replacements(convert(model, Conversion(4, max_pool_kernel=2), 64))
    assert found[1].now == "dense 2×2 max-pool, BlurPool(64, filter_size=4, stride=2)"


def test_a_classifier_keeps_its_weights_and_gets_a_name() -> None:
    plain = load("digits:resnet@baseline-seed1")
    smooth = antialias(plain, filter_size=3)
    assert smooth.name == "digits:resnet@baseline+lpf3-seed1"
    assert smooth.parameters == plain.parameters
    assert smooth.weights_sha256 != plain.weights_sha256  # the filters count as weights
    assert len(replacements(smooth.module)) == 5
    assert antialias(dataclasses.replace(plain, name="a")).name == "a+lpf4"


class Branching(nn.Module):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.step, :: self.step] if x.isfinite().all() else x


def test_a_module_that_cannot_be_traced_stays_whole() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Sequential(Branching(1)), nn.MaxPool2d(2)).eval()
    smooth = convert(model, SMALL, 32)
    x = torch.randn(1, 3, 32, 32)
    expected = BlurPool(3, 3)(F.max_pool2d(model[1](model[0](x)), 2, 1))
    torch.testing.assert_close(smooth(x), expected)


def test_a_module_that_cannot_be_traced_and_downsamples_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Sequential(Branching(2)), nn.MaxPool2d(2))
    message = r"the graph cannot be traced in 1\.0 \(Branching\): symbolically traced variables"
    with pytest.raises(ConversionError, match=message):
        convert(model, SMALL, 32)


def test_a_network_that_does_not_downsample_is_refused() -> None:
    with pytest.raises(ConversionError, match="Sequential has no downsampling that can be"):
        convert(nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1)), SMALL, 32)


def test_a_network_for_other_images_is_refused() -> None:
    with pytest.raises(ConversionError, match="Sequential fails on images of its input size: "):
        convert(nn.Sequential(nn.Conv2d(4, 3, 3, 2)), SMALL, 32)


def test_a_strided_convolution_that_is_called_twice_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.conv(self.conv(x))
            return result

    with pytest.raises(ConversionError, match="conv is called twice; give each call its own layer"):
        convert(Twice(), Conversion(first_conv=True), 32)


def test_downsampling_without_a_rule_is_listed() -> None:
    class Slicing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(x[:, :, ::2, ::2], 2)

    found = replacements(convert(Slicing(), SMALL, 32))
    assert str(found[0]) == "getitem: slicing with a step → left alone: no rule for it"


def test_only_converted_networks_have_replacements() -> None:
    with pytest.raises(ValueError, match="Linear is not a converted network"):
        replacements(nn.Linear(1, 1))


def test_an_odd_stride_is_kept_whole() -> None:
    for stride in (3, 6, 7):
        plain = nn.Sequential(nn.Conv2d(3, 4, stride, stride), nn.Conv2d(4, 4, 1))
        smooth = convert(plain, Conversion(3, first_conv=True), 42)
        x = torch.rand(1, 3, 42, 42)
        assert smooth(x).shape[-1] == -(-42 // stride) == plain(x).shape[-1]


def test_a_network_of_half_precision_stays_one() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.MaxPool2d(2)).bfloat16()
    smooth = convert(plain, Conversion(3), 32)
    assert {one.dtype for one in smooth.state_dict().values()} == {torch.bfloat16}
    assert torch.equal(smooth.state_dict()["0.weight"], plain[0].weight)
    assert smooth(torch.rand(1, 3, 32, 32).bfloat16()).dtype == torch.bfloat16


class Casting(nn.Module):
    """A network in bfloat16 with a norm in float32 that takes images in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 1, 1).bfloat16()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x.to(torch.bfloat16)).float()
        return F.max_pool2d(self.norm(x), 2)


def test_every_weight_keeps_its_type() -> None:
    plain = Casting()
    smooth = convert(plain, SMALL, 32)
    before, after = plain.state_dict(), smooth.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {name: after[name].dtype for name in before} == {
        name: one.dtype for name, one in before.items()
    }
    x = torch.rand(1, 3, 32, 32)
    assert smooth.eval()(x).shape == plain.eval()(x).shape


def test_the_code_of_a_converted_network_counts() -> None:
    plain = dataclasses.replace(make_classifier("a"), module=Casting(), source_sha256="")
    smooth = antialias(plain, filter_size=3)
    assert smooth.source_sha256 == plain.source_sha256 == smooth.current().source_sha256 != ""
