from __future__ import annotations

import pytest
import torch
from torch import nn

from robustbench_aa.models.cifar10_networks import DOWNSAMPLINGS, CircularPadding, ResNet20


@pytest.mark.parametrize("name", DOWNSAMPLINGS)
def test_every_network_has_the_published_size(name: str) -> None:
    # He et al. give 0.27 M; 1×1 convolutions with norms in two shortcuts add 2,752
    network = ResNet20(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == 272_474
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 19 + 2
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", DOWNSAMPLINGS)
def test_the_same_weights_fit_every_network(name: str) -> None:
    plain, other = ResNet20("plain").state_dict(), ResNet20(name).state_dict()
    assert {key for key in other if not key.endswith("filt")} == set(plain)


def test_adaptive_sampling_is_invariant_to_circular_shifts_and_others_are_not() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 3, 32, 32)
    changes = {}
    for name in DOWNSAMPLINGS:
        network = ResNet20(name)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
        with torch.inference_mode():
            logits = network.eval()(images)
            shifted = [network(images.roll(step, (-2, -1))) for step in ((1, 0), (3, -5), (2, 2))]
        changes[name] = max(float((other - logits).norm() / logits.norm()) for other in shifted)
    assert changes.pop("aps") < 1e-5
    assert min(changes.values()) > 1e-3


def test_circular_padding_is_pytorchs_with_its_gradients() -> None:
    x = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    for form in (torch.contiguous_format, torch.channels_last):
        pixels = x.contiguous(memory_format=form).requires_grad_()
        padded = CircularPadding.apply(pixels)
        assert torch.equal(padded, nn.functional.pad(x, (1, 1, 1, 1), mode="circular"))
        assert torch.autograd.gradcheck(CircularPadding.apply, pixels)
    assert padded.is_contiguous(memory_format=torch.channels_last)
