from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UsageError
from robustbench_aa.models.plain_module import as_classifier
from tests.conftest import PLAIN, make_classifier


def network(classes: int = 10, size: int = 32) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(3 * size**2, classes))


def described(module: nn.Module, **config: Any) -> nn.Module:
    given = {"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    module.default_cfg = given | config  # type: ignore[assignment]
    return module


def test_a_module_that_describes_its_input_is_wrapped() -> None:
    module = described(network(7), crop_pct=0.8, interpolation="bicubic", architecture="net")
    classifier = as_classifier(module.train())
    assert (classifier.name, classifier.input_size, classifier.classes) == ("net", 32, 7)
    how = classifier.preprocessing
    assert (how.mean, how.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (how.resize, how.interpolation) == (40, "bicubic")
    assert classifier.module is module
    assert all(part.training for part in module.modules())


def test_a_model_of_timm_gets_the_preprocessing_of_timm() -> None:
    timm = import_module("timm")
    module = timm.create_model("resnet10t", num_classes=7)
    classifier = as_classifier(module)
    expected = timm.data.resolve_model_data_config(module)
    assert (3, classifier.input_size, classifier.input_size) == expected["input_size"]
    assert classifier.preprocessing.mean == expected["mean"]
    assert classifier.preprocessing.std == expected["std"]
    assert classifier.preprocessing.interpolation == expected["interpolation"]
    assert classifier.preprocessing.resize == int(classifier.input_size / expected["crop_pct"])
    assert classifier.classes == 7


def test_a_classifier_is_taken_as_it_is() -> None:
    classifier = make_classifier("a")
    assert as_classifier(classifier) is classifier


def wrapped(module: nn.Module, input_size: int = 32, classes: int = 10) -> Classifier:
    return Classifier(module, name="a", input_size=input_size, classes=classes, preprocessing=PLAIN)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            network(),
            r"a plain Sequential does not say its input_size, mean, std; wrap it, with your",
        ),
        (
            described(network(), mean=None),
            r"does not say its mean; wrap it, .* preprocessing=robust",
        ),
        (
            described(network(), input_size=(3, 32, 48)),
            "images of 32 × 48 px, which are not square",
        ),
        (described(network(size=48)), r"does not map images \(1, 3, 32, 32\) to logits \(mat1 and"),
        (
            wrapped(network(), classes=5),
            r"has classes=5, and its module returns 10 logits; give the",
        ),
        (
            wrapped(network(), input_size=48),
            r"\(1, 3, 48, 48\) to logits .*; give the input_size th",
        ),
        (wrapped(nn.Identity()), r"to logits \(returned \(1, 3, 32, 32\)\)"),
        (3, "3 is no model; give a specification such as"),
    ],
)
def test_an_unsuitable_model_is_refused(model: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        as_classifier(model)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [32, 48], ids=["fits", "fails"])
def test_the_check_leaves_the_module_as_it_was(size: int) -> None:
    module = nn.Sequential(nn.BatchNorm2d(3), network()).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with nullcontext() if size == 32 else pytest.raises(UsageError):
        as_classifier(wrapped(module, input_size=size))
    assert module.training
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name
        assert not tensor.is_inference()
