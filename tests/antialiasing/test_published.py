from __future__ import annotations

import gzip
import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from robustbench_aa.antialiasing import Conversion, convert
from robustbench_aa.antialiasing.published import ARCHITECTURES

FORMS: dict[str, dict[str, list[int]]] = json.loads(
    gzip.decompress(Path(__file__).with_name("published_keys.json.gz").read_bytes())
)
"""Form of an official network → keys and shapes, written by make_published_keys.py."""


def form(described: str) -> tuple[str, dict[str, bool]]:
    name, _, chosen = described.partition(" pool_only=")
    return name, {"pool_only": chosen == "True"} if chosen else {}


def settled(network: nn.Module) -> nn.Module:
    """Return the network with random weights and norms that keep activations near one."""
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 128, 128))
    return network.eval()


def test_there_are_23() -> None:
    assert len(ARCHITECTURES) == 23
    assert {form(described)[0] for described in FORMS} == set(ARCHITECTURES)


@pytest.mark.parametrize("described", FORMS)
def test_keys_and_shapes_are_the_official_ones(described: str) -> None:
    name, chosen = form(described)
    with torch.device("meta"):
        state = ARCHITECTURES[name].build(**chosen).state_dict()
    assert [(key, list(tensor.shape)) for key, tensor in state.items()] == [
        (key, shape) for key, shape in FORMS[described].items()
    ]


@pytest.mark.parametrize("described", FORMS)
def test_the_variant_follows_from_a_state_dict(described: str) -> None:
    name, chosen = form(described)
    with torch.device("meta"):
        state = ARCHITECTURES[name].build(3, classes=7, **chosen).state_dict()
        again = ARCHITECTURES[name].build_for(state).state_dict()
    assert {k: t.shape for k, t in again.items()} == {k: t.shape for k, t in state.items()}


FAMILIES = ("vgg11", "vgg11_bn", "resnet18", "resnet50", "densenet121", "mobilenet_v2")
RULED = [d for d in FORMS if form(d)[0] in FAMILIES] + ["alexnet pool_only=False"]
"""The forms of each family; no rule makes the other form of AlexNet, which lacks a ReLU."""


@pytest.mark.parametrize("described", RULED)
@pytest.mark.parametrize("filter_size", [2, 5])
def test_a_converted_network_computes_what_the_published_one_does(
    described: str, filter_size: int
) -> None:
    name, chosen = form(described)
    torch.manual_seed(0)
    plain = settled(torchvision.models.get_model(name, weights=None))
    published = ARCHITECTURES[name].build(filter_size, **chosen).eval()
    own = iter(weights(plain).values())
    for tensor in weights(published).values():
        tensor.copy_(next(own))
    conversion = Conversion(
        filter_size,
        first_conv=not chosen.get("pool_only", True),
        max_pool_kernel=2 if isinstance(plain, torchvision.models.ResNet) else None,
    )
    x = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        expected = published(x)
        torch.testing.assert_close(convert(plain, conversion, 128)(x), expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.01


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {key: t for key, t in network.state_dict().items() if not key.endswith(".filt")}


@pytest.mark.parametrize("described", FORMS)
def test_the_peer_computes_the_same(described: str) -> None:
    """The published state dict loads, and the logits agree."""
    peer = import_module("antialiased_cnns")
    name, chosen = form(described)
    torch.manual_seed(1)
    for filter_size in (2, 5) if "resnet18" in name else (4,):
        official = settled(getattr(peer, name)(pretrained=False, filter_size=filter_size, **chosen))
        ours = ARCHITECTURES[name].build_for(official.state_dict()).eval()
        ours.load_state_dict(official.state_dict(), strict=True)
        x = torch.randn(2, 3, 128, 128)
        with torch.no_grad():
            expected = official(x)
            torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)
        assert expected.std() > 0.01


def test_pool_only_is_refused_where_there_is_one_form() -> None:
    with pytest.raises(ValueError, match="vgg11 has only one form; omit pool_only"):
        ARCHITECTURES["vgg11"].build(pool_only=True)


def test_a_plain_state_dict_is_refused() -> None:
    with torch.device("meta"):
        state = torchvision.models.resnet18(weights=None).state_dict()
    with pytest.raises(ValueError, match="no weights of an anti-aliased network"):
        ARCHITECTURES["resnet18"].build_for(state)
