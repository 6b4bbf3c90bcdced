"""Adaptive polyphase sampling: which of the s² subsampled maps is kept depends on the content.

Subsampling by s keeps one of s² polyphase components `x[:, :, i::s, j::s]`, and plain subsampling
keeps the first. A shift of x exchanges the components, so a choice by content makes the result
follow the shift: with circular padding everywhere and a global average at the end, a network is
invariant to circular shifts, whatever its weights are.

    APS    the component with the largest l2 norm: Chaman & Dokmanić, CVPR 2021
    LPS    the component that a small network prefers: Rojas-Gomez et al., NeurIPS 2022

A chosen component is an index i · s + j for each image, int64 [N], or weights that sum to 1, float
[N, s²], where LPS trains. All branches of a residual block must keep the same one:

    main, component = self.down.select(torch.relu(self.norm(self.conv(x))))
    shortcut = self.down_shortcut(x, component)
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_aa.antialiasing.layers import BlurPool, PaddingMode, check_padding_mode
from robustbench_aa.antialiasing.windows import pair


class Polyphase(nn.Module):
    """The base of the layers that see a map as its polyphase components.

    Args:
        stride: Stride of the subsampling: one number, or one for each axis.
        padding_mode: See `completed`.

    Raises:
        ValueError: The padding mode is unknown.
    """

    def __init__(
        self, stride: int | tuple[int, int] = 2, padding_mode: PaddingMode = "reflect"
    ) -> None:
        super().__init__()
        check_padding_mode(padding_mode)
        self.stride, self.padding_mode = pair(stride), padding_mode

    def components(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, h, s, w, s]: component (i, j) is [:, :, :, i, :, j]."""
        x = completed(x, self.stride, self.padding_mode)
        components: Tensor = x.unflatten(3, (-1, self.stride[1])).unflatten(2, (-1, self.stride[0]))
        return components

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        stride = self.stride[0] if self.stride[0] == self.stride[1] else self.stride
        return f"stride={stride}, padding_mode={self.padding_mode}"


class LargestNorm(Polyphase):
    """The choice of APS: the polyphase component with the largest l2 norm.

    Args:
        stride, padding_mode: See `PolyphaseDownsample`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the chosen components, int64 [N]; of equal norms the first wins."""
        x = x.detach()
        x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        energy = x.square().sum(1, keepdim=True)
        if x.device.type != "mps":  # which has no float64
            energy = energy.double()  # a shift changes the order of the sum, and must not decide
        return self.components(energy).sum((1, 2, 4)).flatten(1).argmax(1)


class LearnedChoice(Polyphase):
    """The choice of LPS: two convolutions, the same for all components, that give one logit each.

    In evaluation the largest logit wins. In training the choice is a sample of the Gumbel-softmax,
    which weights all components and has a gradient.

    Args:
        channels: Number of input channels.
        stride: Stride of the subsampling: one number, or one for each axis.
        padding_mode: See `PolyphaseDownsample`. The convolutions pad circularly if it is
            `circular`, and with zeros otherwise.
        hidden: Number of channels between the convolutions; by default an eighth of the input, as
            in the published ResNet-18, but at least 8.
        temperature: Temperature of the Gumbel-softmax: 1 is smooth, 0.25 nearly a hard choice.
    """

    def __init__(
        self,
        channels: int,
        stride: int | tuple[int, int] = 2,
        padding_mode: PaddingMode = "reflect",
        hidden: int | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(stride, padding_mode)
        self.temperature = temperature
        hidden = hidden or max(8, channels // 8)
        mode: Literal["circular", "zeros"] = "circular" if padding_mode == "circular" else "zeros"
        self.conv1 = nn.Conv2d(channels, hidden, 3, padding=1, padding_mode=mode)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, padding_mode=mode)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to the chosen components: int64 [N], or float [N, s²]."""
        logits = self.logits(x)
        if not self.training:
            return logits.argmax(1)
        return F.gumbel_softmax(logits.float(), self.temperature).to(x.dtype)

    def logits(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to one logit for each component, [N, s²]."""
        maps = self.components(x).permute(0, 3, 5, 1, 2, 4).flatten(0, 2)  # [N · s², C, h, w]
        scores = self.conv2(torch.relu(self.conv1(maps)))
        logits: Tensor = scores.mean((1, 2, 3)).view(len(x), -1)
        return logits

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        return f"{super().extra_repr()}, temperature={self.temperature}"


class PolyphaseComponent(Polyphase):
    """The polyphase component that was chosen, image by image.

    Args:
        stride, padding_mode: See `PolyphaseDownsample`.
    """

    def forward(self, x: Tensor, component: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, ⌈H / stride⌉, ⌈W / stride⌉].

        Args:
            x: The map.
            component: The chosen components of this map or of another one with the same stride.
        """
        components = self.components(x)
        if component.is_floating_point():
            weights = component.to(x.dtype).view(-1, *self.stride, 1, 1, 1)
            # term by term, since a sum over axes of stride s is several times slower
            terms = (
                part * weights[:, row, column]
                for row, parts in enumerate(components.unbind(3))
                for column, part in enumerate(parts.unbind(4))
            )
            return functools.reduce(torch.add, terms)
        images = torch.arange(len(x), device=x.device)
        rows, columns = component // self.stride[1], component % self.stride[1]
        return components[images, :, :, rows, :, columns]


class PolyphaseDownsample(nn.Module):
    """Subsampling by APS or LPS, after a blur if a filter size is given.

    Args:
        channels: Number of input channels.
        filter_size: Filter size of the blur before the choice; 1 is no blur.
        stride: Stride of the subsampling: one number, or one for each axis.
        padding_mode: Padding mode of the blur. A size that the stride does not divide is completed
            by the first rows and columns if it is `circular`, and by the last ones otherwise.
        learned: Whether a small network makes the choice (LPS) instead of the l2 norm (APS).

    Raises:
        ValueError: The filter size is not 1 to 7, or the padding mode is unknown.
    """

    def __init__(
        self,
        channels: int,
        filter_size: int = 1,
        stride: int | tuple[int, int] = 2,
        padding_mode: PaddingMode = "reflect",
        *,
        learned: bool = False,
    ) -> None:
        super().__init__()
        self.blur = (
            nn.Identity()
            if filter_size == 1
            else BlurPool(channels, filter_size, 1, padding_mode=padding_mode)
        )
        self.choice: nn.Module = (
            LearnedChoice(channels, stride, padding_mode)
            if learned
            else LargestNorm(stride, padding_mode)
        )
        self.component = PolyphaseComponent(stride, padding_mode)

    def forward(self, x: Tensor, component: Tensor | None = None) -> Tensor:
        """Map [N, channels, H, W] to [N, channels, ⌈H / stride⌉, ⌈W / stride⌉].

        Args:
            x: The map.
            component: The components that another branch chose; by default this layer chooses.
        """
        x = self.blur(x)
        result: Tensor = self.component(x, self.choice(x) if component is None else component)
        return result

    def select(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the result and the chosen components, for the other branches of a block."""
        x = self.blur(x)
        component: Tensor = self.choice(x)
        return self.component(x, component), component


def completed(x: Tensor, stride: tuple[int, int], padding_mode: PaddingMode) -> Tensor:
    """Return [N, C, H, W] with height and width extended to multiples of the stride.

    All components must have one size. With circular padding the map continues with its first rows
    and columns; otherwise the last ones repeat. An odd length cannot be exactly invariant: a shift
    by one around an odd circle is not an exchange of its components.
    """
    for axis, step in zip((2, 3), stride, strict=True):
        size = x.shape[axis]
        if size % step:
            places = torch.arange(size + step - size % step, device=x.device)
            circular = padding_mode == "circular"
            places = places % size if circular else places.clamp(max=size - 1)
            x = x.index_select(axis, places)
    return x
