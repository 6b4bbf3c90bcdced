"""The embedded models: a small ResNet for 32-px images, with and without anti-aliasing.

It has one of each kind of downsampling, so that the paper's three replacements all count:
max-pooling after the stem, strided convolutions in the blocks, average pooling in the shortcuts.
Trained by `data_prep.train_digits` with three seeds for each filter size.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from robustbench_aa.antialiasing import BlurPool, MaxBlurPool
from robustbench_aa.errors import UnknownName
from robustbench_aa.models.checkpoint import (
    fit,
    is_converted,
    is_path,
    load_weights,
    read_state_dict,
)
from robustbench_aa.models.untrained import untrained
from robustbench_aa.types import Classifier, Preprocessing

WEIGHTS_FOLDER = Path(__file__).with_name("weights")
FILTER_SIZES: dict[str, int | None] = {"baseline": None, "lpf2": 2, "lpf3": 3, "lpf5": 5}
SEEDS = (0, 1, 2)
PREPROCESSING = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def max_pool(channels: int, filter_size: int | None) -> nn.Module:
    """Max-pooling of stride 2, anti-aliased if a filter size is given."""
    return nn.MaxPool2d(2) if filter_size is None else MaxBlurPool(channels, 2, filter_size)


def strided_conv(
    inputs: int, outputs: int, stride: int, filter_size: int | None
) -> tuple[nn.Module, ...]:
    """Convolution, norm and ReLU; anti-aliased, it runs dense and the blur takes the stride."""
    blur = () if filter_size is None or stride == 1 else (BlurPool(outputs, filter_size, stride),)
    return (
        nn.Conv2d(inputs, outputs, 3, 1 if blur else stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        *blur,
    )


def average_pool(channels: int, filter_size: int | None) -> nn.Module:
    """Average pooling of stride 2, anti-aliased if a filter size is given."""
    return nn.AvgPool2d(2) if filter_size is None else BlurPool(channels, filter_size)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut.

    Args:
        inputs, outputs: channels.
        stride: 1, or 2 for downsampling.
        filter_size: of the blur before downsampling; None for none.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, filter_size: int | None) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *strided_conv(inputs, outputs, stride, filter_size),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                average_pool(inputs, filter_size),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, H / stride, W / stride]."""
        return torch.relu(self.residual(x) + self.shortcut(x))


class ResNet(nn.Sequential):
    """78,042 parameters: a stem and three residual blocks of 16, 32 and 64 channels.

    Args:
        filter_size: of the blur before every downsampling; None for the plain baseline.
    """

    def __init__(self, filter_size: int | None) -> None:
        super().__init__(
            *strided_conv(3, 16, 1, filter_size),
            max_pool(16, filter_size),
            ResidualBlock(16, 16, 1, filter_size),
            ResidualBlock(16, 32, 2, filter_size),
            ResidualBlock(32, 64, 2, filter_size),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, 32, 32] → logits [N, 10]."""
        if not torch.is_grad_enabled():  # twice as fast on a CPU, and training stays what it was
            x = x.contiguous(memory_format=torch.channels_last)
        for layer in self:
            x = layer(x)
        return x


def names() -> list[str]:
    """Every embedded model, training seed by training seed."""
    return [f"resnet@{weights}-seed{seed}" for weights in FILTER_SIZES for seed in SEEDS]


def load(name: str, weights: str | None) -> Classifier:
    """Loads an embedded model.

    Args:
        name: `resnet`.
        weights: `baseline`, `lpf2`, `lpf3` or `lpf5`, each with `-seed0` (what is meant when
            none is named), `-seed1` or `-seed2`; `random`; or a path. None means `baseline`.

    Raises:
        UnknownName: no such architecture or weights.
        CheckpointError: the file does not fit the architecture.
    """
    if name != "resnet":
        raise UnknownName("digits model", name, ["resnet"])
    weights = weights or "baseline"
    if weights in FILTER_SIZES:
        weights = f"{weights}-seed{SEEDS[0]}"
    return Classifier(
        (untrained(lambda: ResNet(None)) if weights == "random" else _trained(weights)).eval(),
        name=f"digits:{name}@{weights}",
        input_size=32,
        classes=10,
        preprocessing=PREPROCESSING,
    )


def weights_path(filter_name: str, seed: int) -> Path:
    """Where the weights of an embedded model lie."""
    return WEIGHTS_FOLDER / f"resnet-{filter_name}-seed{seed}.safetensors"


def _trained(weights: str) -> nn.Module:
    """The network that the weights were trained for: the blurs in them tell its filter size."""
    embedded = {f"{known}-seed{seed}": (known, seed) for known in FILTER_SIZES for seed in SEEDS}
    if is_path(weights):
        path = Path(weights)
    elif weights in embedded:
        path = weights_path(*embedded[weights])
    else:
        raise UnknownName("weights of digits:resnet", weights, [*FILTER_SIZES, *embedded])
    if is_converted(path):
        return load_weights(ResNet(None), path, 32)
    state = read_state_dict(path)
    blur = next((tensor for key, tensor in state.items() if key.endswith("filt")), None)
    module = ResNet(None if blur is None else blur.shape[-1])
    fit(module, state, str(path))
    return module
