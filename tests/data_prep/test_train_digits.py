from __future__ import annotations

import pytest
import torch
from torch import nn

from data_prep.train_digits import accuracy, build, train
from robustbench_aa.models import load
from robustbench_aa.models.digits import NETWORKS, SEEDS, trained, weights_path

PARAMETERS = {"resnet": 78_042, "vgg": 55_746}
each = pytest.mark.parametrize(
    ("name", "weights"), [(name, weights) for name in NETWORKS for weights in trained(name)]
)


def shipped(name: str, weights: str, seed: int) -> nn.Module:
    return load(f"digits:{name}@{weights}-seed{seed}").module


def test_training_again_reproduces_the_shipped_accuracy() -> None:
    again = accuracy(train("resnet", "lpf2", seed=0), "test")
    assert again == pytest.approx(accuracy(shipped("resnet", "lpf2", 0), "test"), abs=0.005)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_two_networks_differ_only_in_architecture(name: str) -> None:
    """Same parameters, same first values: filters are buffers, and only they differ."""
    parameters = {}
    for known in trained(name):
        torch.manual_seed(0)
        parameters[known] = [p.flatten() for p in build(name, known).parameters()]
    for own in parameters.values():
        assert sum(p.numel() for p in own) == PARAMETERS[name]
        assert torch.equal(torch.cat(own), torch.cat(parameters["baseline"]))


@each
@pytest.mark.parametrize("seed", SEEDS)
def test_shipped_weights_are_small_and_good(name: str, weights: str, seed: int) -> None:
    assert weights_path(name, weights, seed).stat().st_size < 400_000
    assert accuracy(shipped(name, weights, seed), "test") > 0.96
