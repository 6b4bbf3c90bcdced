from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from data_prep.train_digits import accuracy, train
from robustbench_aa.models.digits import FILTER_SIZES, SEEDS, ResNet, weights_path


def shipped(name: str, seed: int) -> ResNet:
    model = ResNet(FILTER_SIZES[name])
    model.load_state_dict(load_file(weights_path(name, seed)))
    return model.eval()


def test_training_again_reproduces_the_shipped_accuracy() -> None:
    again = accuracy(train(FILTER_SIZES["lpf2"], seed=0), "test")
    assert again == pytest.approx(accuracy(shipped("lpf2", 0), "test"), abs=0.005)


def test_the_architecture_is_all_that_differs() -> None:
    """Same parameters, same first values: filters are buffers, and only they differ."""
    parameters = {}
    for name, filter_size in FILTER_SIZES.items():
        torch.manual_seed(0)
        parameters[name] = [p.flatten() for p in ResNet(filter_size).parameters()]
    for own in parameters.values():
        assert sum(p.numel() for p in own) == 78_042
        assert torch.equal(torch.cat(own), torch.cat(parameters["baseline"]))


@pytest.mark.parametrize("name", FILTER_SIZES)
@pytest.mark.parametrize("seed", SEEDS)
def test_shipped_weights_are_small_and_good(name: str, seed: int) -> None:
    assert weights_path(name, seed).stat().st_size < 400_000
    assert accuracy(shipped(name, seed), "test") > 0.97
