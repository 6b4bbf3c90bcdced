from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from robustbench_aa import load
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.models import known_models
from robustbench_aa.models import open_clip as source
from robustbench_aa.suite import Suite

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}


@pytest.fixture(autouse=True)
def _tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register a tiny CLIP, and keep text features in a folder of the test."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    config = tmp_path / "tiny-clip.json"
    config.write_text(json.dumps(TINY))
    open_clip.add_model_config(config)
    yield
    config.unlink()
    open_clip.add_model_config(tmp_path / "nothing")


@pytest.fixture
def pets(tmp_path: Path) -> str:
    """Options that name three classes and two templates."""
    (tmp_path / "classes.txt").write_text("cat\ndog\n\nguinea pig\n")
    (tmp_path / "templates.txt").write_text("a photo of a {}.\nmy {}\n")
    return f"?classes={tmp_path}/classes.txt&templates={tmp_path}/templates.txt"


def expected_logits(x: Tensor) -> Tensor:
    """The logits by open_clip's own function for zero-shot classifiers."""
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-clip").eval()
    tokenizer = open_clip.get_tokenizer("tiny-clip")
    templates = ["a photo of a {}.", "my {}"]
    with torch.no_grad():
        weights = open_clip.build_zero_shot_classifier(
            model, tokenizer, ["cat", "dog", "guinea pig"], templates
        )
        features = F.normalize(model.encode_image(x), dim=-1)
        return model.logit_scale.exp() * features @ weights


def test_logits_are_those_of_open_clips_zero_shot_classifier(pets: str) -> None:
    classifier = load(f"open-clip:tiny-clip{pets}@random")
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(classifier.module(x), expected_logits(x), rtol=1e-4, atol=1e-4)
    assert (classifier.input_size, classifier.classes) == (32, 3)
    how = classifier.preprocessing
    assert how.mean == open_clip.OPENAI_DATASET_MEAN
    assert (how.resize, how.interpolation) == (32, "bicubic")


def test_the_default_texts_are_open_clips_for_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        source, "_encoded", lambda *given: asked.append(given[-1]) or torch.zeros(1000, 16)
    )
    assert load("open-clip:tiny-clip@random").classes == 1000
    (texts,) = asked
    assert texts.classes[:2] == ("tench", "goldfish")
    assert len(texts.templates) == 80
    assert texts.templates[0] == "a bad photo of a {}."


def test_text_features_are_computed_once(
    pets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(f"open-clip:tiny-clip{pets}@random")
    monkeypatch.setattr(source, "_encoded", lambda *_: pytest.fail("computed again"))
    again = load(f"open-clip:tiny-clip{pets}@random")
    assert torch.equal(again.module.text_features, first.module.text_features)
    assert again.weights_sha256 == first.weights_sha256
    (file,) = (tmp_path / "hub" / "robustbench_aa").iterdir()
    assert first.weights_sha256 in file.name


def test_a_model_is_evaluated_and_recognised_again(tmp_path: Path) -> None:
    (tmp_path / "digits.txt").write_text("\n".join(f"the number {one}" for one in range(10)))
    suite = Suite(
        [f"clip=open-clip:tiny-clip?classes={tmp_path}/digits.txt@random"], ["digits"], limit=4
    )
    assert prepare(suite, tmp_path / "run", "cpu").run().failures == []
    # vectors that were rounded by another machine do not make it another model
    (file,) = (tmp_path / "hub" / "robustbench_aa").iterdir()
    save_file({source.KEY: load_file(file)[source.KEY] * (1 + 1e-6)}, file)
    assert prepare(suite, tmp_path / "run", "cpu").work == []


@pytest.mark.parametrize(
    ("file", "text"), [("classes.txt", "cat\ndog\nhamster\n"), ("templates.txt", "a {}\n")]
)
def test_other_texts_are_another_model(pets: str, tmp_path: Path, file: str, text: str) -> None:
    name = f"open-clip:tiny-clip{pets}@random"
    before = load(name)
    (tmp_path / file).write_text(text)
    after = load(name)
    assert after.weights_sha256 != before.weights_sha256
    assert not torch.equal(after.module.text_features, before.module.text_features)


def test_a_damaged_cache_is_computed_again(pets: str, tmp_path: Path) -> None:
    before = load(f"open-clip:tiny-clip{pets}@random").module.text_features
    (file,) = (tmp_path / "hub" / "robustbench_aa").iterdir()
    file.write_bytes(b"half")
    assert torch.equal(load(f"open-clip:tiny-clip{pets}@random").module.text_features, before)


def test_a_full_disk_only_costs_time(pets: str, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("a file in place of the folder")
    assert load(f"open-clip:tiny-clip{pets}@random").classes == 3


def test_weights_come_from_a_file(
    pets: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(5)
    network = open_clip.create_model("tiny-clip")
    caplog.clear()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    loaded = load(f"open-clip:tiny-clip{pets}@{tmp_path}/a.pth").module.model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())
    assert "randomly" not in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tiny-clop@random", "", "unknown open-clip model 'tiny-clop'; did you mean tiny-clip"),
        ("ViT-B-32@laion", "", "unknown weights of open-clip:ViT-B-32 'laion'; did you mean"),
        ("ViT-B-32", "", "open-clip:ViT-B-32 needs weights after an @: openai, "),
        ("hf-hub:a/b@random", "", "has its own weights; leave out @random"),
        ("tiny-clip?names=a@random", "", "unknown option of .* 'names'; did you mean classes"),
        ("tiny-clip?classes=lost.txt@random", "", r"lost\.txt cannot be read .*; check classes="),
        ("tiny-clip?classes=FILE@random", "\n", "is empty; write the classes, one a line"),
        ("tiny-clip?classes=FILE@random", "crane\ncrane\n", "names 'crane' twice"),
        ("tiny-clip?templates=FILE@random", "a photo\n", "'a photo' needs {} once"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / "file.txt").write_text(text)
    with pytest.raises((UnknownName, UsageError), match=message):
        load(f"open-clip:{name}".replace("FILE", f"{tmp_path}/file.txt"))


def test_published_weights_that_cannot_be_downloaded_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(open_clip, "create_model", fail)
    with pytest.raises(UsageError, match=r"cannot be created \(no network\); if its weights"):
        load("open-clip:ViT-B-32@openai")


def test_published_models_are_listed() -> None:
    assert "open-clip:ViT-B-32@laion2b_s34b_b79k" in known_models("open-clip")


def test_a_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert known_models("open-clip") == []
    with pytest.raises(UsageError, match=r"pip install 'robustbench-aa\[open-clip\]'"):
        load("open-clip:ViT-B-32@openai")
