from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from robustbench_aa import antialias, load
from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import CheckpointError, UnknownName, UsageError
from robustbench_aa.evaluation.inference import Inference, Predictor
from robustbench_aa.models.checkpoint import write_converted
from robustbench_aa.types import CLEAN, Batch

SHARED = Path(
    os.environ.get(
        "ROBUSTBENCH_AA_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"
    )
)
NETWORK = "squeezenet1_1"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return dict(torchvision.models.get_model(NETWORK, weights=None).state_dict())


def logits(classifier: Classifier) -> torch.Tensor:
    with torch.no_grad():
        x = torch.ones(1, 3, 224, 224)
        result: torch.Tensor = classifier.module(x)
        return result


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_of_training_scripts_can_be_read(
    tmp_path: Path, state: dict[str, torch.Tensor], wrapper: str | None, prefix: str
) -> None:
    content: object = {prefix + key: tensor for key, tensor in state.items()}
    if wrapper:
        content = {"epoch": 3, "optimizer": {"lr": 0.1}, wrapper: content}
    torch.save(content, tmp_path / "a.pth")
    classifier = load(f"file:{NETWORK}@{tmp_path}/a.pth")
    assert classifier.classes == 1000
    assert not classifier.module.training
    loaded = classifier.module.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())


def test_the_file_contains_the_number_of_classes(tmp_path: Path) -> None:
    network = torchvision.models.get_model("mobilenet_v2", weights=None, num_classes=7)
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    assert load(f"file:mobilenet_v2@{tmp_path}/a.safetensors").classes == 7


def test_a_converted_network_comes_back(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, tmp_path / "a.pth")
    smooth = antialias(load(f"file:{NETWORK}@{tmp_path}/a.pth"), filter_size=3)
    write_converted(smooth.module, tmp_path / "aa.safetensors")
    for name in (f"file:{NETWORK}", f"torchvision:{NETWORK}"):
        again = load(f"{name}@{tmp_path}/aa.safetensors")
        torch.testing.assert_close(logits(again), logits(smooth))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("squeezenet", UnknownName, "unknown torchvision model 'squeezenet'; did you mean sque"),
        ("tim/resnet18", UnknownName, "unknown library of architectures 'tim'; did you mean timm"),
        ("alexnet", CheckpointError, r"a\.pth does not fit AlexNet \(12 missing: features"),
    ],
)
def test_an_incompatible_checkpoint_is_refused(
    tmp_path: Path, state: dict[str, torch.Tensor], name: str, error: type[Exception], message: str
) -> None:
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(error, match=message):
        load(f"file:{name}@{tmp_path}/a.pth")


def test_a_path_is_needed() -> None:
    with pytest.raises(UsageError, match="file:alexnet needs a checkpoint; write file:alexnet@P"):
        load("file:alexnet")


@pytest.mark.skipif(not SHARED.exists(), reason=f"no photographs in {SHARED}")
def test_a_real_network_classifies_real_photographs() -> None:
    """78.0% top-1 and 95.5% top-5, as measured with Pillow's Resize 256 and CenterCrop 224."""
    path = SHARED / "weights" / "mobilenet_v2_imagenet.pth"
    classifier = load(f"file:mobilenet_v2@{path}")
    index = json.loads((SHARED / "imagenet_wnid_to_index.json").read_text())
    files = sorted((SHARED / "imagenet_sample").glob("*/*"))
    labels = np.array([index[file.parent.name] for file in files])
    crop = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(256), torchvision.transforms.CenterCrop(224)]
    )
    pictures = [np.asarray(crop(Image.open(file).convert("RGB"))) for file in files]
    frames = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).unsqueeze(1)
    batch = Batch(CLEAN, np.arange(len(files)), labels, frames)
    rows = Predictor(classifier, Inference(50)).predict(batch)
    top5 = np.stack([rows[f"top{rank}"] for rank in range(1, 6)], axis=1)
    assert (top5[:, 0] == labels).sum() == 156
    assert (top5 == labels[:, None]).any(axis=1).sum() == 191
    smooth = Predictor(antialias(classifier, filter_size=2), Inference(50)).predict(batch)
    assert (smooth["top1"] == labels).mean() > 0.3  # chance is one in a thousand
