from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import robustbench_aa as rb
from robustbench_aa.errors import ModelError, UsageError
from tests.conftest import PLAIN, make_classifier

PART = {"name": "digits-c", "corruptions": ["clean", "fog"], "severities": [3]}


class Trained(nn.Module):
    """A network with parts that depend on the mode, on randomness and on the precision."""

    def __init__(self) -> None:
        super().__init__()
        self.normal = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(3 * 32 * 32, 10)
        self.seen: set[torch.dtype] = set()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.linear(self.drop(self.normal(images).flatten(1)))
        self.seen.add(found.dtype)
        return found


def test_the_values_are_those_of_a_run(tmp_path: Path) -> None:
    model = rb.load_model("digits:resnet@baseline-seed0")
    found = rb.callbacks.measure(model, [PART, "digits-shift"], limit=6, seed=2)
    run = rb.benchmark([model], [PART, "digits-shift"], tmp_path / "run", limit=6, seed=2)
    expected = run.table("intervals").set_index("metric")
    assert {"clean_error", "mean_error_subset", "consistency_circular"} <= found.keys()
    for name in ("clean_error", "mean_error_subset", "consistency_circular"):
        row = expected.loc[name]
        bounds = (found[name], found[f"{name}_low"], found[f"{name}_high"])
        assert bounds == (row["value"], row["low"], row["high"])


def test_the_network_and_the_random_state_stay() -> None:
    network = Trained()
    network.normal.eval()  # a part that is frozen on purpose
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    with torch.autocast("cpu", torch.bfloat16):
        rb.callbacks.measure(network, ["digits"], limit=4, preprocessing=PLAIN)
        assert torch.is_autocast_enabled("cpu")
    assert network.seen == {torch.float32}
    assert (network.training, network.normal.training, network.drop.training) == (True, False, True)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])  # noqa: NPY002
    assert torch.is_grad_enabled()
    network(torch.rand(2, 3, 32, 32)).sum().backward()


def test_a_network_of_lower_precision_is_measured_in_it() -> None:
    network = Trained().bfloat16()
    rb.callbacks.measure(network, ["digits"], limit=4, preprocessing=PLAIN)
    assert network.seen == {torch.bfloat16}
    assert network.linear.weight.dtype == torch.bfloat16


def test_wrong_usage_is_refused() -> None:
    with pytest.raises(UsageError, match="does not say its input_size, mean, std"):
        rb.callbacks.measure(Trained(), ["digits"])
    with pytest.raises(UsageError, match="has its own preprocessing"):
        rb.callbacks.measure(make_classifier("a"), ["digits"], preprocessing=PLAIN)
    with pytest.raises(UsageError, match="did you mean digits"):
        rb.callbacks.measure(make_classifier("a"), ["digitz"])
    broken = Trained()
    nn.init.constant_(broken.linear.weight, float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        rb.callbacks.measure(broken, ["digits"], limit=4, preprocessing=PLAIN)
