from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from robustbench_aa import load
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.models import known_models


def test_every_published_weights_file_can_be_named() -> None:
    known = known_models("torchvision")
    assert {"torchvision:resnet50@IMAGENET1K_V1", "torchvision:resnet50@IMAGENET1K_V2"} <= set(
        known
    )
    assert not any("segmentation" in name or "raft" in name for name in known)


def test_the_preprocessing_is_that_of_the_weights(tmp_path: Path) -> None:
    network = torchvision.models.resnet18(weights=None)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    classifier = load(f"torchvision:resnet18@{tmp_path}/mine.pth")
    transforms = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    how = classifier.preprocessing
    assert (how.mean, how.std) == (tuple(transforms.mean), tuple(transforms.std))
    assert (how.resize, how.interpolation) == (256, "bilinear")
    assert (classifier.input_size, classifier.classes) == (224, 1000)


def test_random_weights_are_the_same_every_time() -> None:
    hashes = {load("torchvision:squeezenet1_1@random").weights_sha256 for _ in range(2)}
    assert len(hashes) == 1


def test_other_sizes_are_known() -> None:
    assert load("torchvision:inception_v3@random").input_size == 299


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51", "unknown torchvision model 'resnet51'; did you mean resnet"),
        ("resnet50@IMAGENET1K_V3", "unknown weights of torchvision:resnet50 'IMAGENET1K_V3'; did"),
    ],
)
def test_unknown_names_list_similar_names(name: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        load(f"torchvision:{name}")


def test_weights_that_cannot_be_downloaded_say_where_to_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_arguments: object, **_options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    message = (
        r"resnet18-.*\.pth cannot be downloaded \(no route to host\); fetch it elsewhere and sa"
    )
    with pytest.raises(UsageError, match=message):
        load("torchvision:resnet18@IMAGENET1K_V1")
