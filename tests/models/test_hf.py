from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import nn

from robustbench_aa import load
from robustbench_aa.errors import ConversionError, UsageError
from robustbench_aa.evaluation.identity import model_identity
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.models import known_models
from robustbench_aa.suite import Suite

SQUARE = {"height": 32, "width": 32}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def resnet(**changes: Any) -> nn.Module:
    given = {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1], "num_labels": 7}
    torch.manual_seed(1)
    config = transformers.ResNetConfig(**given | changes)
    return transformers.ResNetForImageClassification(config).eval()


# transformers leaves the file of a configuration to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def saved(folder: Path, processor: Any, network: nn.Module | None = None) -> str:
    """Write a model and its processor into a folder, and return the specification."""
    (network or resnet()).save_pretrained(folder)
    processor.save_pretrained(folder)
    return f"hf:{folder}"


pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def picture(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height))


PROCESSORS = {
    "squash": (transformers.ViTImageProcessor(size=SQUARE), None),
    "crop": (transformers.BitImageProcessor(size={"shortest_edge": 40}, crop_size=SQUARE), 40),
    "crop_pct": (transformers.ConvNextImageProcessor(size={"shortest_edge": 32}), 36),
    "no crop_pct": (transformers.ConvNextImageProcessor(size={"shortest_edge": 384}), None),
    # its resizing enlarges the side that its configuration names
    "levit": (transformers.LevitImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE), None),
    "no scale": (
        transformers.ViTImageProcessor(
            size=SQUARE, do_rescale=False, image_mean=[127, 120, 110], image_std=[50, 60, 70]
        ),
        None,
    ),
    "no mean": (transformers.ViTImageProcessor(size=SQUARE, do_normalize=False), None),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_preprocessing_is_the_processors(tmp_path: Path, name: str) -> None:
    processor, resize = PROCESSORS[name]
    network = resnet()
    classifier = load(saved(tmp_path, processor, network))
    size = 384 if name == "no crop_pct" else 32
    assert (classifier.input_size, classifier.classes) == (size, 7)
    assert classifier.preprocessing.resize == resize
    # a picture of the network's size needs no resizing, so both give the same logits
    square = picture(size, size)
    frames = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None]
    values = processor(square, return_tensors="pt", do_resize=False, do_center_crop=False)
    with torch.no_grad():
        ours = classifier.module(classifier.preprocessing.normalised(frames))
        theirs = network(pixel_values=values["pixel_values"]).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (transformers.MobileViTImageProcessor(crop_size=SQUARE), "does more than to normalise"),
        (transformers.EfficientNetImageProcessor(size=SQUARE), "does more than to normalise"),
        (transformers.ViTImageProcessor(size={"height": 32, "width": 40}), "not square"),
        (
            transformers.BitImageProcessor(size={"shortest_edge": 40}, do_center_crop=False),
            r"makes images of \(3, 40, 53\), not square",
        ),
    ],
)
def test_what_cannot_be_reproduced_is_refused(tmp_path: Path, processor: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(saved(tmp_path, processor))


def test_weights_are_those_of_the_folder_or_random(tmp_path: Path) -> None:
    network = resnet()
    name = saved(tmp_path, transformers.ViTImageProcessor(size=SQUARE), network)
    loaded = load(name).module.network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())
    random = [load(f"{name}@random").weights_sha256 for _ in range(2)]
    assert random[0] == random[1] != load(name).weights_sha256


def test_half_precision_weights_are_computed_in_float32(tmp_path: Path) -> None:
    name = saved(tmp_path, transformers.ViTImageProcessor(size=SQUARE), resnet().half())
    assert {one.dtype for one in load(name).module.parameters()} == {torch.float32}


def test_a_configuration_is_part_of_the_identity(tmp_path: Path) -> None:
    processor = transformers.ViTImageProcessor(size=SQUARE)
    one = model_identity(load(saved(tmp_path / "a", processor)))
    same = model_identity(load(saved(tmp_path / "b", processor)))
    assert one == same
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"intermediate_size": 16, "image_size": 32, "patch_size": 8}
    identities = []
    for heads in (1, 2):  # the number of heads changes neither weights nor their shapes
        torch.manual_seed(0)
        config = transformers.ViTConfig(**shape | {"num_attention_heads": heads})
        network = transformers.ViTForImageClassification(config)
        name = saved(tmp_path / f"heads{heads}", processor, network)
        identities.append(model_identity(load(name)))
    assert identities[0]["weights_sha256"] == identities[1]["weights_sha256"]
    assert identities[0]["source_sha256"] != identities[1]["source_sha256"]


def test_a_model_is_evaluated_and_recognised_again(tmp_path: Path) -> None:
    name = saved(
        tmp_path / "model", transformers.ViTImageProcessor(size=SQUARE), resnet(num_labels=10)
    )
    suite = Suite([name], ["digits"], limit=4)
    assert prepare(suite, tmp_path / "run", "cpu").run().failures == []
    assert prepare(suite, tmp_path / "run", "cpu").work == []


def test_conversions_are_refused(tmp_path: Path) -> None:
    name = saved(tmp_path, transformers.ViTImageProcessor(size=SQUARE))
    with pytest.raises(ConversionError, match="cannot be traced"):
        load(f"{name}+lpf3")


def test_weights_in_a_pickle_are_not_read(tmp_path: Path) -> None:
    name = saved(tmp_path, transformers.ViTImageProcessor(size=SQUARE))
    torch.save(resnet().state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="cannot be loaded"):
        load(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("someone/nothing", "hf:someone/nothing cannot be loaded"),
        ("someone/nothing@v1", "hf:someone/nothing@v1 cannot be loaded"),
        ("FOLDER", r"cannot be loaded .* a folder needs config\.json"),
        ("FOLDER@v1", "a folder has no revisions; leave out @v1"),
    ],
)
def test_models_that_are_not_there_are_errors(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(f"hf:{name}".replace("FOLDER", str(tmp_path)))


def test_no_names_are_listed() -> None:
    assert known_models("hf") == []


def test_a_missing_extra_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'robustbench-aa\[hf\]'"):
        load(f"hf:{tmp_path}")
