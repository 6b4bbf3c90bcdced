from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
import torchvision

from robustbench_aa import load
from robustbench_aa.antialiasing.published import ARCHITECTURES
from robustbench_aa.errors import CheckpointError, DownloadError, UnknownName
from robustbench_aa.models import antialiased, known_models


def test_every_published_checkpoint_can_be_named() -> None:
    known = known_models("antialiased")
    assert len(known) == 9 * 5 + 14
    assert {"antialiased:resnet50@lpf5", "antialiased:vgg11@lpf4_finetune"} <= set(known)
    assert set(antialiased.CHECKPOINTS) == set(ARCHITECTURES)
    digests = [d for weights in antialiased.CHECKPOINTS.values() for d in weights.values()]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 8 and int(digest, 16) for digest in digests)


@pytest.mark.parametrize("suffix", ["", "-with-first"])
def test_a_file_contains_filter_size_variant_and_classes(tmp_path: Path, suffix: str) -> None:
    network = ARCHITECTURES["resnet18"].build(5, pool_only=not suffix, classes=7)
    path = tmp_path / f"a{suffix}.pth"
    torch.save({"epoch": 1, "state_dict": network.state_dict()}, path)
    classifier = load(f"antialiased:resnet18@{path}")
    assert (classifier.classes, classifier.input_size) == (7, 224)
    assert classifier.preprocessing.resize == 256
    assert classifier.name == f"antialiased:resnet18@{path}"
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(classifier.module(x), network.eval()(x))


def test_old_keys_of_densenet_are_understood(tmp_path: Path) -> None:
    network = ARCHITECTURES["densenet121"].build(3)
    plain = torchvision.models.densenet121(weights=None)
    for name, module in (("antialiased", network), ("torchvision", plain)):
        state = module.state_dict()
        old = {
            key.replace("norm1", "norm.1").replace("conv2", "conv.2"): tensor
            for key, tensor in state.items()
        }
        assert set(old) != set(state)
        torch.save(old, tmp_path / "a.pth")
        loaded = load(f"{name}:densenet121@{tmp_path}/a.pth").module.state_dict()
        assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())


def test_random_weights_are_the_same_every_time() -> None:
    first, second = (load("antialiased:resnet18@random") for _ in range(2))
    assert first.weights_sha256 == second.weights_sha256
    assert first.module.get_buffer("maxpool.1.filt").shape[-1] == 4


def test_published_weights_come_from_torchs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"state_dict": ARCHITECTURES["resnet18"].build(5).state_dict()}, tmp_path / "a")
    digest = hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(antialiased.CHECKPOINTS["resnet18"], "lpf5", digest)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (tmp_path / "a").rename(cache / f"resnet18_lpf5-{digest}.pth")
    classifier = load("antialiased:resnet18@lpf5")
    assert classifier.name == "antialiased:resnet18@lpf5"
    assert classifier.module.get_buffer("maxpool.1.filt").shape[-1] == 5


def test_a_host_that_is_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(antialiased, "URL", "http://127.0.0.1:9/")
    message = (
        r"cad66808\.pth cannot be downloaded .* or give your file as antialiased:resnet50@PATH"
    )
    with pytest.raises(DownloadError, match=message):
        load("antialiased:resnet50")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51@lpf5", "unknown anti-aliased architecture 'resnet51'; did you mean resnet50"),
        ("resnet50@lpf6", "unknown weights of antialiased:resnet50 'lpf6'; did you mean lpf5"),
        ("vgg11@lpf5", "unknown weights of antialiased:vgg11 'lpf5'; known: lpf4_finetune, random"),
    ],
)
def test_unknown_names_list_similar_names(name: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        load(f"antialiased:{name}")


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "plain.pth")
    message = r"plain\.pth holds no weights of an anti-aliased network; .*torchvision:resnet18@PATH"
    with pytest.raises(CheckpointError, match=message):
        load(f"antialiased:resnet18@{tmp_path}/plain.pth")
    torch.save(ARCHITECTURES["resnet34"].build(3).state_dict(), tmp_path / "deeper.pth")
    message = r"deeper\.pth does not fit ResNet \(96 unexpected: layer1\.2\.conv1\.weight, .*, …\)"
    with pytest.raises(CheckpointError, match=message):
        load(f"antialiased:resnet18@{tmp_path}/deeper.pth")
