from __future__ import annotations

import sys
from pathlib import Path

import pytest

from robustbench_aa import load
from robustbench_aa.errors import UsageError
from robustbench_aa.evaluation.identity import model_identity

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


def test_a_plain_module_gets_imagenets_preprocessing() -> None:
    classifier = load("python:my_models:network")
    assert (classifier.input_size, classifier.classes) == (224, 7)
    assert classifier.preprocessing.mean == (0.485, 0.456, 0.406)
    assert classifier.name == "python:my_models:network"
    assert not classifier.module.training


def test_a_classifier_is_taken_as_it_is() -> None:
    classifier = load("python:my_models:classifier")
    assert (classifier.input_size, classifier.name) == (32, "python:my_models:classifier")


@pytest.mark.parametrize(
    ("name", "message"),
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
def test_a_function_without_a_model_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        load(f"python:{name}")
    assert "\n" not in str(error.value)


def test_a_change_of_code_is_another_model(tmp_path: Path) -> None:
    """The weights and the printed form stay the same."""
    code = "from torch import nn\nfrom helper import factor\n\nclass Net(nn.Module):\n"
    code += "    def forward(self, x):\n        return x.mean((2, 3)) * factor\n"
    (tmp_path / "helper.py").write_text("factor = 1\n")

    def identity(text: str) -> dict[str, object]:
        (tmp_path / "my_models.py").write_text(text)
        for name in ("my_models", "helper"):
            sys.modules.pop(name, None)
        return model_identity(load("python:my_models:Net"))

    first = identity(code)
    assert identity(code) == first
    changed = identity(code.replace("* factor", "* -factor"))
    assert changed["source_sha256"] != first["source_sha256"]
    assert changed["weights_sha256"] == first["weights_sha256"]
    assert changed["architecture_sha256"] == first["architecture_sha256"]
    (tmp_path / "helper.py").write_text("factor = 2\n")
    assert identity(code)["source_sha256"] != first["source_sha256"]
    (tmp_path / "unrelated.py").write_text("factor = 3\n")
    (tmp_path / "helper.py").write_text("factor = 1\n")
    assert identity(code) == first


def test_the_modules_of_a_package_are_part_of_it(tmp_path: Path) -> None:
    package = tmp_path / "nets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "layers.py").write_text("scale = 1\n")
    (package / "net.py").write_text(f"{CODE}\nfrom .layers import scale\nimport nets.more\n")
    (package / "more.py").write_text("")
    found = []
    for text in ("", "x = 1\n"):
        (package / "more.py").write_text(text)
        for name in [name for name in sys.modules if name.startswith("nets")]:
            del sys.modules[name]
        found.append(load("python:nets.net:network").source_sha256)
    (package / "layers.py").write_text("scale = 2\n")
    for name in [name for name in sys.modules if name.startswith("nets")]:
        del sys.modules[name]
    found.append(load("python:nets.net:network").source_sha256)
    assert len(set(found)) == 3
