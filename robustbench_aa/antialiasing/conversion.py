"""The options of a conversion, and their short form such as `aps3-circular`.

The methods and their short forms:

    blur         lpf4           a fixed low-pass filter (`layers.py`)
    aps, lps     aps, aps3      the polyphase component that the content chooses (`polyphase.py`),
                                alone or after a blur
    flc, asap    flc, asap      the low frequencies of the Fourier transform (`fourier.py`)
    ddac         ddac, ddac5    predicted low-pass filters (`adaptive.py`)
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from robustbench_aa.antialiasing import adaptive, layers
from robustbench_aa.antialiasing.adaptive import AdaptiveBlurPool
from robustbench_aa.antialiasing.fourier import FourierPool
from robustbench_aa.antialiasing.layers import BlurPool, PaddingMode, check_padding_mode
from robustbench_aa.antialiasing.polyphase import LargestNorm, LearnedChoice
from robustbench_aa.errors import UnknownName

Layer = Callable[["Conversion", int, tuple[int, int]], nn.Module]
"""A function from the options, a number of channels and a stride to a layer."""


@dataclass(frozen=True)
class Method:
    """A way of downsampling.

    Attributes:
        layer: Makes the layer that subsamples; for a polyphase method, the layer that chooses.
        short: Name in specifications.
        filter_sizes: Possible filter sizes; none for a method without a filter.
        filter_size: Default filter size.
        polyphase: Whether it chooses a polyphase component for each image. Branches that are added
            must then keep the same one, and every strided layer is converted with its full stride,
            because one plain subsampling already ends the invariance.
    """

    layer: Layer
    short: str
    filter_sizes: tuple[int, ...] = ()
    filter_size: int | None = None
    polyphase: bool = False


METHODS = {
    "blur": Method(
        lambda how, channels, stride: BlurPool(channels, how.size, stride, how.padding_mode),
        *("lpf", layers.FILTER_SIZES, 4),
    ),
    "aps": Method(
        lambda how, channels, stride: LargestNorm(stride, how.padding_mode),
        *("aps", layers.FILTER_SIZES, 1, True),
    ),
    "lps": Method(
        lambda how, channels, stride: LearnedChoice(channels, stride, how.padding_mode),
        *("lps", layers.FILTER_SIZES, 1, True),
    ),
    "flc": Method(lambda how, channels, stride: FourierPool(stride), "flc"),
    "asap": Method(lambda how, channels, stride: FourierPool(stride, window=True), "asap"),
    "ddac": Method(
        lambda how, channels, stride: AdaptiveBlurPool(
            channels, how.size, stride, how.padding_mode
        ),
        *("ddac", adaptive.FILTER_SIZES, 3),
    ),
}
"""Every method by its name."""

_SHORT = re.compile(r"([a-z]+)(\d*)((?:-[a-z0-9]+)*)")
_PARTS: dict[str, dict[str, object]] = {
    **{mode: {"padding_mode": mode} for mode in layers.TORCH_MODES if mode != "reflect"},
    "firstconv": {"first_conv": True},
    "nofirstconv": {"first_conv": False},
    **{f"maxpool{size}": {"max_pool_kernel": size} for size in range(1, 17)},
}
"""What may follow the method in the short form → the option."""


@dataclass(frozen=True)
class Conversion:
    """The options of a conversion.

    Attributes:
        filter_size: Filter size: of the blur, 1 to 7, by default 4; of a blur before the choice of
            `aps` and `lps`, by default 1, which is no blur; of the filters of `ddac`, 1, 3, 5 or
            7, by default 3. `flc` and `asap` have none.
        first_conv: Whether to convert a strided convolution at full resolution too. The published
            blurred networks do not: it is the most expensive convolution to run dense. By default
            only `aps` and `lps` do, whose invariance needs it.
        max_pool_kernel: New kernel size of max-pools; None keeps the original size. The published
            ResNets use 2 where torchvision's use 3.
        padding_mode: Padding mode of every blur. `circular` makes every padding of the network
            circular.
        method: `blur`, `aps`, `lps`, `flc`, `asap` or `ddac`.

    Raises:
        UnknownName: There is no such method.
        ValueError: The method has no such filter size, or the padding mode is unknown.
    """

    filter_size: int | None = None
    first_conv: bool | None = None
    max_pool_kernel: int | None = None
    padding_mode: PaddingMode = "reflect"
    method: str = "blur"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UnknownName("anti-aliasing method", self.method, METHODS)
        check_padding_mode(self.padding_mode)
        sizes = METHODS[self.method].filter_sizes
        if self.filter_size is None:
            object.__setattr__(self, "filter_size", METHODS[self.method].filter_size)
        elif not sizes:
            raise ValueError(f"{self.method} has no filter; omit the filter size")
        elif self.filter_size not in sizes:
            known = ", ".join(map(str, sizes))
            raise ValueError(
                f"filter size {self.filter_size} does not exist for {self.method}; choose from "
                f"{known}"
            )
        if self.first_conv is None:
            object.__setattr__(self, "first_conv", self.polyphase)

    @classmethod
    def parse(cls, short: str) -> Conversion:
        """Return the conversion with a short form, such as `lpf4` or `aps3-circular`.

        Raises:
            UnknownName: There is no such method, filter size or option.
        """
        match = _SHORT.fullmatch(short)
        names = {method.short: name for name, method in METHODS.items()}
        if match is None or match[1] not in names or match[1] + match[2] not in short_forms():
            raise UnknownName("anti-aliasing", short, short_forms())
        options: dict[str, Any] = {}
        for part in match[3].split("-")[1:]:
            if part not in _PARTS:
                raise UnknownName(f"option of +{match[1]}{match[2]}", part, _PARTS)
            options |= _PARTS[part]
        size = int(match[2]) if match[2] else None
        return dataclasses.replace(cls(size, method=names[match[1]]), **options)

    def __str__(self) -> str:
        """Return the short form, which holds every option that differs from its default."""
        default = Conversion(method=self.method)
        sized = self.method == "blur" or self.filter_size != default.filter_size
        parts = [METHODS[self.method].short + (str(self.filter_size) if sized else "")]
        for part, option in _PARTS.items():
            ((key, value),) = option.items()
            if getattr(self, key) == value != getattr(default, key):
                parts.append(part)
        return "-".join(parts)

    @property
    def polyphase(self) -> bool:
        """Whether the method chooses a polyphase component for each image."""
        return METHODS[self.method].polyphase

    @property
    def circular(self) -> bool:
        """Whether every padding of the network becomes circular."""
        return self.padding_mode == "circular"

    @property
    def size(self) -> int:
        """The filter size; 1, which filters nothing, for a method without a filter."""
        return self.filter_size or 1

    def layer(self, channels: int, stride: tuple[int, int]) -> nn.Module:
        """Return the layer that subsamples; for a polyphase method, the layer that chooses."""
        return METHODS[self.method].layer(self, channels, stride)


def short_forms() -> list[str]:
    """Return the short forms of all methods and filter sizes, without further options."""
    forms = []
    for name, method in METHODS.items():
        forms += [] if name == "blur" else [method.short]
        forms += [f"{method.short}{size}" for size in method.filter_sizes]
    return forms
