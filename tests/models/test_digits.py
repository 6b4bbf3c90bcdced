from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from robustbench_aa import load
from robustbench_aa.antialiasing import BlurPool
from robustbench_aa.models.digits import weights_path
from robustbench_aa.models.digits_networks import ResNet

BLURS = {"baseline": 0, "lpf2": 5, "lpf3": 5, "lpf5": 5}


@pytest.mark.parametrize(("name", "blurs"), BLURS.items())
def test_each_replacement_of_the_paper_is_made(name: str, blurs: int) -> None:
    module = load(f"digits:resnet@{name}").module
    kinds = [type(layer) for layer in module.modules()]
    assert kinds.count(BlurPool) == blurs
    # a blurred network has no strided layer left but the blurs
    strided = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
        and layer.stride not in (1, (1, 1))
    ]
    assert len(strided) == (0 if blurs else 5)


@pytest.mark.parametrize("filter_size", [None, 3, 4])
def test_a_file_contains_its_architecture(tmp_path: Path, filter_size: int | None) -> None:
    trained = ResNet(filter_size).eval()
    save_file(trained.state_dict(), tmp_path / "mine.safetensors")
    loaded = load(f"digits:resnet@{tmp_path}/mine.safetensors")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.module(x), trained(x))


def test_the_first_seed_is_meant_when_none_is_named() -> None:
    assert load("digits:resnet").name == "digits:resnet@baseline-seed0"
    assert load("digits:resnet@lpf3").name == "digits:resnet@lpf3-seed0"
    named = load("digits:resnet@lpf3-seed1")
    assert named.weights_sha256 != load("digits:resnet@lpf3").weights_sha256
    by_path = load(f"digits:resnet@{weights_path('resnet', 'lpf3', 1)}")
    assert named.weights_sha256 == by_path.weights_sha256


def test_random_weights_are_the_plain_network_untrained() -> None:
    random = load("digits:resnet@random")
    assert random.parameters == 78_042
    assert random.weights_sha256 == load("digits:resnet@random").weights_sha256
