from __future__ import annotations

import sys
from pathlib import Path

import pytest
import timm
import torch

from robustbench_aa import antialias, load
from robustbench_aa.antialiasing import replacements
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.models.plain_module import as_classifier
from robustbench_aa.models.timm import resized_side


def test_the_preprocessing_is_timms_data_configuration() -> None:
    classifier = load("timm:resnet18.a1_in1k@random")
    how = timm.data.resolve_model_data_config(classifier.module)
    assert classifier.preprocessing.mean == tuple(how["mean"])
    assert classifier.preprocessing.interpolation == how["interpolation"]
    assert classifier.preprocessing.resize == int(classifier.input_size / how["crop_pct"])
    assert classifier.classes == 1000


@pytest.mark.parametrize("mode", ["squash", "border"])
def test_pictures_that_do_not_keep_their_shape_have_no_shorter_side(mode: str) -> None:
    network = timm.create_model("resnet18", pretrained=False)
    network.pretrained_cfg["crop_mode"] = network.default_cfg["crop_mode"] = mode
    assert resized_side(timm.data.resolve_model_data_config(network)) is None
    assert as_classifier(network).preprocessing.resize is None


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    network = timm.create_model("mobilenetv3_small_050", pretrained=False)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "a.pth")
    for name in ("timm:mobilenetv3_small_050", "file:timm/mobilenetv3_small_050"):
        loaded = load(f"{name}@{tmp_path}/a.pth").module.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "unknown timm model 'resnet19'; did you mean resnet"),
        ("resnet18@a1", "unknown weights of timm:resnet18 'a1'; known: random, a path"),
    ],
)
def test_unknown_names_list_similar_names(name: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        load(f"timm:{name}")


def test_a_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'robustbench-aa\[timm\]'"):
        load("timm:resnet18@random")


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "resnet26d", "resnext50_32x4d", "regnety_002", "densenet121"),
        *("mobilenetv2_050", "mobilenetv3_small_050", "efficientnet_b0", "tf_efficientnet_b0"),
        *("mnasnet_050", "convnext_atto", "inception_v3", "vgg11_bn"),
    ],
)
def test_timms_networks_can_be_anti_aliased(name: str) -> None:
    plain = load(f"timm:{name}@random")
    smooth = antialias(plain, filter_size=3)
    x = torch.randn(1, 3, plain.input_size, plain.input_size)
    with torch.no_grad():
        assert smooth.module(x).shape == (1, 1000)
    found = [replacement.now for replacement in replacements(smooth.module)]
    assert sum("BlurPool" in now for now in found) >= 3
    assert all("no rule" not in now for now in found)
