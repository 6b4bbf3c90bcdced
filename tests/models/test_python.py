from __future__ import annotations

import sys
from pathlib import Path

import pytest

from robustbench_aa import load
from robustbench_aa.errors import UsageError

CODE = """
from torch import nn
import robustbench_aa as rb

def network():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 7))

def classifier():
    how = rb.Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3)
    return rb.Classifier(network(), name="x", input_size=32, classes=7, preprocessing=how)

def broken():
    raise KeyError("weights")

def text():
    return "resnet"

def small():
    return nn.Linear(3, 3)

number = 3
"""


@pytest.fixture(autouse=True)
def _code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_models", raising=False)


def test_a_module_is_taken_for_imagenets() -> None:
    classifier = load("python:my_models:network")
    assert (classifier.input_size, classifier.classes) == (224, 7)
    assert classifier.preprocessing.mean == (0.485, 0.456, 0.406)
    assert classifier.name == "python:my_models:network"
    assert not classifier.module.training


def test_a_classifier_is_taken_as_it_is() -> None:
    classifier = load("python:my_models:classifier")
    assert (classifier.input_size, classifier.name) == (32, "python:my_models:classifier")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("my_model:network", r"module my_model cannot be imported \(ModuleNotFoundError: No mod"),
        ("my_models:netwrk", "unknown function of my_models 'netwrk'; did you mean network"),
        ("my_models:number", "unknown function of my_models 'number'"),
        ("my_models:broken", r"raised KeyError \('weights'\); it is called without arguments"),
        ("my_models:text", r"returned str; return a torch\.nn\.Module or a robustbench_aa\.Class"),
        ("my_models:small", r"does not map images \(1, 3, 224, 224\) to logits"),
        ("my_models", "python:my_models is not of the form python:package.module:function"),
    ],
)
def test_what_gives_no_model_is_refused(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as error:
        load(f"python:{name}")
    assert "\n" not in str(error.value)
