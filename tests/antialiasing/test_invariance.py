"""Networks with APS or LPS and circular padding are invariant to circular shifts, untrained."""

from __future__ import annotations

import functools
import itertools
import random
from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from robustbench_aa.antialiasing import Conversion, convert, replacements

SIZE = 64
TOLERANCE = 1e-4


@functools.lru_cache(maxsize=1)
def network(name: str, size: int = SIZE) -> nn.Module:
    """An untrained network whose norms have the statistics of random images, so that it sees."""
    torch.manual_seed(0)
    if name.startswith("timm:"):
        timm = import_module("timm")
        model: nn.Module = timm.create_model(name.removeprefix("timm:"), pretrained=False)
    else:
        extra = {"init_weights": False} if name == "googlenet" else {}
        model = torchvision.models.get_model(name, weights=None, **extra)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0.0, 0.3)
    with torch.no_grad():
        model.train()(images(8, size))
    return model.eval()


def images(count: int, size: int) -> Tensor:
    """Random pictures with coarse and fine structure."""
    generator = torch.Generator().manual_seed(count)
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    fine = torch.randn(count, 3, size, size, generator=generator)
    return F.interpolate(coarse, size=size, mode="bicubic") + 0.3 * fine


def largest_difference(
    model: nn.Module, shifts: list[tuple[int, int]], x: Tensor | None = None
) -> float:
    """The largest change of the logits by a shift, relative to their length; equal classes."""
    x = images(2, SIZE) if x is None else x
    with torch.no_grad():
        plain = model(x)
        batches = (
            torch.cat([x.roll(shift, (2, 3)) for shift in shifts[start : start + 8]])
            for start in range(0, len(shifts), 8)
        )
        moved = torch.cat([model(batch) for batch in batches]).unflatten(0, (len(shifts), 2))
    spread = (plain[0] - plain[1]).norm() / plain[0].norm()
    assert spread > 100 * TOLERANCE, "the network does not see its images"
    if (changed := (moved - plain).norm(dim=2).max() / plain[0].norm()) < TOLERANCE:
        assert (moved.argmax(2) == plain.argmax(1)).all()
    return changed.item()


def sampled(count: int) -> list[tuple[int, int]]:
    every = list(itertools.product(range(SIZE), repeat=2))
    return random.Random(0).sample(every, count)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "mobilenet_v2"])
@pytest.mark.parametrize("method", ["aps", "lps"])
def test_logits_are_equal_under_circular_shifts(name: str, method: str) -> None:
    """Shifts along an axis of up to a whole period of the network, and a sample of others."""
    model = convert(network(name), Conversion(method=method, padding_mode="circular"), SIZE)
    step = 5 if name == "vgg11" else 1  # it is slow
    axis = [(0, right) for right in range(1, 33, step)]
    assert largest_difference(model, [*axis, (32, 0), (1, 0), *sampled(16)]) < TOLERANCE
    assert not any("not exactly invariant" in one.now for one in replacements(model))


@pytest.mark.parametrize("short", ["lpf4-circular", "flc-circular", "aps", "aps-nofirstconv"])
def test_without_the_choice_or_the_circle_logits_change(short: str) -> None:
    model = convert(network("resnet18"), Conversion.parse(short), SIZE)
    assert largest_difference(model, [(0, 1), (1, 1), (3, 2)]) > 10 * TOLERANCE


@pytest.mark.parametrize(
    "name",
    [
        "regnet_y_400mf",  # the shortcut comes before the main branch
        "shufflenet_v2_x0_5",  # two strided branches are joined as channels
        "densenet121",  # average pools, and maps joined as channels
        "timm:convnext_atto",  # convolutions whose kernel is their stride
        "efficientnet_b0",  # gates from global means
        "googlenet",  # pools of stride 1, pools that round up
        "timm:resnet18d",  # average pools in shortcuts
    ],
)
def test_other_families_are_invariant_too(name: str) -> None:
    # a convolution cannot pad a map by more than its own size
    size = 2 * SIZE if name == "timm:convnext_atto" else SIZE
    conversion = Conversion(method="aps", padding_mode="circular")
    model = convert(network(name, size), conversion, size).double()
    x = images(2, size).double()  # exact, not equal up to rounding
    assert largest_difference(model, [(0, 1), (1, 0), (13, 7), (16, 40)], x) < 1e-9
    assert not any("not exactly invariant" in one.now for one in replacements(model))


def test_a_blur_before_the_choice_stays_invariant() -> None:
    model = convert(network("resnet18"), Conversion.parse("aps3-circular"), SIZE)
    assert largest_difference(model, [(0, 1), (1, 0), (13, 7), (16, 40)]) < TOLERANCE


def test_obstacles_to_invariance_are_listed() -> None:
    """AlexNet's first convolutions and pools shrink the map, which loses its border."""
    model = convert(network("alexnet"), Conversion(method="aps", padding_mode="circular"), SIZE)
    found = {one.where: one.now for one in replacements(model)}
    assert found["features.0"].startswith("left alone: not exactly invariant, it shrinks the map")
    assert largest_difference(model, [(0, 1), (1, 0), (13, 7)]) > TOLERANCE


def test_a_size_that_cannot_be_halved_is_listed() -> None:
    model = convert(network("resnet18"), Conversion.parse("aps-circular"), 72)
    odd = [one for one in replacements(model) if "no multiple" in one.now]
    assert [one.was for one in odd] == [f"subsampling of {n}×{n}" for n in (9, 9, 5, 5)]
