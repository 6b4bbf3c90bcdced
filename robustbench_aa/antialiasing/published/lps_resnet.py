"""ResNet-18 with learnable polyphase sampling and circular padding, as its authors published it.

Rojas-Gomez et al., "Learnable Polyphase Sampling for Shift Invariant and Equivariant Convolutional
Networks", NeurIPS 2022; github raymondyeh07/learnable_polyphase_sampling (MIT). It differs from
torchvision's ResNet-18:

- Every padding is circular, and every subsampling is a learned choice of a component.
- The first convolution is dense. Its subsampling comes after its ReLU, then a 2×2 max-pool of
  stride 1 and a second subsampling.
- A block of stride 2 subsamples its second convolution: its input, or its result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

from robustbench_aa.antialiasing.polyphase import (
    LearnedChoice,
    PolyphaseComponent,
    PolyphaseDownsample,
)

STAGES = ("layer2", "layer3", "layer4")
_CHOICE = "component_selection.get_logits"
_FILTER = "_antialias_layer"
_RENAMED = (
    (r"^core\.", ""),
    (r"\.conv2\.[01]\.weight$", ".conv2.weight"),
    (rf"\.conv2\.[01]\.{_CHOICE}\.", ".down.choice."),
    (rf"^(maxpool\.[03])\.{_CHOICE}\.", r"\1.choice."),
    # the published shortcut begins with its subsampling
    (r"^(layer[234]\.0\.downsample)\.1\.", r"\1.0."),
    (r"^(layer[234]\.0\.downsample)\.2\.", r"\1.1."),
)
"""Patterns of published keys → ours, applied one after the other."""


@dataclass(frozen=True)
class Form:
    """What the published files of this network may differ in.

    Attributes:
        hidden: Channels between the two convolutions of each choice, in the order of the network:
            after the first convolution, after the max-pool, and in the three stages of stride 2.
        convolution_first: Whether a block subsamples the result of its second convolution, and not
            its input.
        classes: Number of classes.
    """

    hidden: tuple[int, ...] = (8, 8, 16, 32, 64)
    convolution_first: bool = False
    classes: int = 1000


class LearnedBlock(nn.Module):
    """A residual block whose shortcut keeps the component that the main branch chose.

    Args:
        block: The plain block of stride 2, whose layers it takes.
        hidden: Channels between the convolutions of the choice.
        convolution_first: See `Form`.
    """

    def __init__(self, block: BasicBlock, hidden: int, convolution_first: bool) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = block.conv1, block.bn1, block.relu
        self.conv2, self.bn2 = block.conv2, block.bn2
        assert block.downsample is not None  # a block of stride 2 has a shortcut
        self.downsample = block.downsample
        self.conv1.stride = self.downsample[0].stride = (1, 1)
        self.down = _learned(self.conv2.in_channels, hidden)
        self.component = PolyphaseComponent(2, "circular")
        self.convolution_first = convolution_first

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, 2 · C, ⌈H / 2⌉, ⌈W / 2⌉]."""
        main = self.relu(self.bn1(self.conv1(x)))
        if self.convolution_first:
            main, component = self.down.select(self.conv2(main))
        else:
            main, component = self.down.select(main)
            main = self.conv2(main)
        shortcut = self.downsample(self.component(x, component))
        result: Tensor = self.relu(self.bn2(main) + shortcut)
        return result

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        return f"convolution_first={self.convolution_first}"


def build(form: Form) -> ResNet:
    """Build the network with random weights; it maps [N, 3, H, W] to logits [N, classes]."""
    network: ResNet = models.resnet18(weights=None, num_classes=form.classes)
    network.conv1.stride = (1, 1)
    first, second, *stages = form.hidden
    network.maxpool = nn.Sequential(
        _learned(64, first),
        nn.CircularPad2d((0, 1, 0, 1)),
        nn.MaxPool2d(2, 1),
        _learned(64, second),
    )
    for stage, hidden in zip(STAGES, stages, strict=True):
        layer = getattr(network, stage)
        layer[0] = LearnedBlock(layer[0], hidden, form.convolution_first)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.padding != (0, 0):
            module.padding_mode = "circular"
    return network


def form_of(state: Mapping[str, Tensor]) -> Form:
    """Return the form that a published state dict belongs to.

    Raises:
        ValueError: The state dict is not of this network, or has filters before its choices.
    """
    if any(_FILTER in key for key in state):
        raise ValueError("a network with filters before its choices, whose options are not known")
    places = ("maxpool.0", "maxpool.3", *(f"{stage}.0.down" for stage in STAGES))
    ours = renamed(state)
    try:
        hidden = tuple(len(ours[f"{place}.choice.conv1.bias"]) for place in places)
        classes = len(ours["fc.bias"])
    except (KeyError, TypeError) as error:  # the latter: a tensor of one number
        raise ValueError("no weights of the published ResNet-18 with circular padding") from error
    return Form(hidden, "core.layer2.0.conv2.0.weight" in state, classes)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a published state dict with the keys of `build`, without the training temperatures."""
    result = {}
    for key, tensor in state.items():
        if not key.endswith(".gumbel_tau"):
            for pattern, replacement in _RENAMED:
                key = re.sub(pattern, replacement, key)
            result[key] = tensor
    return result


def _learned(channels: int, hidden: int) -> PolyphaseDownsample:
    layer = PolyphaseDownsample(channels, padding_mode="circular", learned=True)
    layer.choice = LearnedChoice(channels, 2, "circular", hidden)
    return layer
