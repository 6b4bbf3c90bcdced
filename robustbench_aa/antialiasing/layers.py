"""The layers of Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), sec. 3.

Subsampling without a low-pass filter aliases: high frequencies appear as low ones. So each kind of
downsampling is split into a dense operation and a blurred subsampling:

    MaxPool(k, s)         →  MaxPool(k, 1), BlurPool(s)           MaxBlurPool
    Conv(k, s), ReLU      →  Conv(k, 1), ReLU, BlurPool(s)        ConvBlurPool
    AvgPool(k, s)         →  BlurPool(s)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_aa.antialiasing import fast_cpu
from robustbench_aa.antialiasing.windows import Window, dense_max_pool

FILTER_SIZES = (1, 2, 3, 4, 5, 6, 7)
PaddingMode = Literal["reflect", "replicate", "zero", "circular"]
TORCH_MODES = {
    "reflect": "reflect",
    "replicate": "replicate",
    "zero": "constant",
    "circular": "circular",
}


def binomial(filter_size: int) -> list[float]:
    """Return the 1-D low-pass filter: binomial coefficients divided by their sum.

    >>> binomial(3)
    [0.25, 0.5, 0.25]

    Raises:
        ValueError: The filter size is not 1 to 7.
    """
    if filter_size not in FILTER_SIZES:
        raise ValueError(f"filter size {filter_size} does not exist; choose from 1 to 7")
    order = filter_size - 1
    return [math.comb(order, k) / 2**order for k in range(filter_size)]


def check_padding_mode(padding_mode: str) -> None:
    """Raise ValueError if a padding mode does not exist."""
    if padding_mode not in TORCH_MODES:
        known = ", ".join(TORCH_MODES)
        raise ValueError(f"padding mode {padding_mode!r} does not exist; choose from {known}")


def slow_backward(x: Tensor) -> bool:
    """Return whether float32 is the faster type for a depthwise convolution in training.

    On a CPU, a training step takes several times as long in bfloat16 or float16
    (`benchmarks/speed/training_cost.py`).
    """
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.bfloat16, torch.float16)
        and x.requires_grad
        and torch.is_grad_enabled()
    )


class _BlurPool(nn.Module):
    """The base of the 1-D and the 2-D layer, which differ in `axes`."""

    axes: ClassVar[int]
    filt: Tensor

    def __init__(
        self,
        channels: int,
        filter_size: int = 4,
        stride: int | tuple[int, ...] = 2,
        padding_mode: PaddingMode = "reflect",
        pad_off: int = 0,
    ) -> None:
        super().__init__()
        check_padding_mode(padding_mode)
        self.channels, self.filter_size = channels, filter_size
        self.stride = (stride,) * self.axes if isinstance(stride, int) else tuple(stride)
        self.padding_mode, self.pad_off = padding_mode, pad_off
        line = torch.tensor(binomial(filter_size))
        filt = line if self.axes == 1 else torch.outer(line, line)
        self.register_buffer("filt", filt.expand(channels, 1, *filt.shape).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Blur and subsample the last axes of [N, channels, …], each to ⌈size / stride⌉.

        Raises:
            ValueError: The input has another number of axes or channels, or is too small for the
                padding.
        """
        self._check(x)
        if slow_backward(x):
            with torch.autocast(x.device.type, enabled=False):
                return self._blurred(x.float()).to(x.dtype)
        return self._blurred(x)

    def _blurred(self, x: Tensor) -> Tensor:
        convolve = F.conv1d if self.axes == 1 else F.conv2d
        filt, before, after = self.filt.to(x.dtype), *self._padding
        if self.padding_mode == "zero" and before == after >= 0:
            return convolve(x, filt, None, self.stride, before, groups=self.channels)
        x = self._padded(x, self.axes)
        return convolve(x, filt, stride=self.stride, groups=self.channels)

    def _padded(self, x: Tensor, axes: int) -> Tensor:
        before, after = self._padding
        if after == 0:
            return x
        return F.pad(x, (before, after) * axes, mode=TORCH_MODES[self.padding_mode])

    @property
    def _padding(self) -> tuple[int, int]:
        return (self.filter_size - 1) // 2 + self.pad_off, self.filter_size // 2 + self.pad_off

    def _check(self, x: Tensor) -> None:
        if x.dim() != 2 + self.axes or x.shape[1] != self.channels:
            raise ValueError(
                f"{type(self).__name__} of {self.channels} channels takes {2 + self.axes} axes, "
                f"not an input of shape {tuple(x.shape)}"
            )
        padding = self._padding[1]
        # reflect padding by p needs p + 1 pixels, circular padding p; the other modes need none
        spare = {"reflect": 1, "circular": 0}.get(self.padding_mode)
        if spare is not None and min(x.shape[2:]) < padding + spare:
            raise ValueError(
                f"an input of shape {tuple(x.shape)} is too small for {self.padding_mode} "
                f"padding by {padding}; use replicate or zero"
            )

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        stride = self.stride[0] if len(set(self.stride)) == 1 else self.stride
        changed = f", padding_mode={self.padding_mode}, pad_off={self.pad_off}"
        plain = self.padding_mode == "reflect" and not self.pad_off
        size = f"filter_size={self.filter_size}, stride={stride}"
        return f"{self.channels}, {size}{'' if plain else changed}"


class BlurPool(_BlurPool):
    """A low-pass filter and a subsampling of height and width, applied to each channel.

    >>> import torch
    >>> import robustbench_aa as rb
    >>> rb.BlurPool(8, filter_size=4, stride=2)(torch.zeros(1, 8, 32, 32)).shape
    torch.Size([1, 8, 16, 16])

    Args:
        channels: Number of input channels.
        filter_size: Filter size m. The filter is the outer product of two binomial filters with m
            coefficients: 1 is plain subsampling, 2 is Rect-2, 3 is Tri-3, 5 is Bin-5.
        stride: Stride of the subsampling: one number, or one for each axis.
        padding_mode: Padding of the edges: `reflect`, `replicate`, `zero` or `circular`.
        pad_off: Additional padding on every side, in pixels.

    Raises:
        ValueError: The filter size is not 1 to 7, or the padding mode is unknown.
    """

    axes = 2

    def __init__(
        self,
        channels: int,
        filter_size: int = 4,
        stride: int | tuple[int, ...] = 2,
        padding_mode: PaddingMode = "reflect",
        pad_off: int = 0,
    ) -> None:
        super().__init__(channels, filter_size, stride, padding_mode, pad_off)
        self._fast: dict[tuple[object, ...], fast_cpu.FastBlur | None] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, channels, ⌈H / stride⌉, ⌈W / stride⌉].

        Raises:
            ValueError: The input has another number of axes or channels, or is too small for the
                padding.
        """
        self._check(x)
        if (
            x.device.type != "cpu"
            or torch.is_grad_enabled()  # training computes the same way on every device
            or torch.compiler.is_compiling()
            # the fast forms sum in an order that depends on the position, so that the last bits of
            # a shifted input would differ: circular padding promises exact shift-equivariance
            or self.padding_mode == "circular"
        ):
            return super().forward(x)
        version = 0 if self.filt.is_inference() else self.filt._version
        key = (*x.shape[2:], x.dtype, x.is_contiguous(), self.filt.data_ptr(), version)
        if key not in self._fast:
            with torch.inference_mode(False), torch.no_grad():
                self._fast[key] = self._fastest(x)
        fast = self._fast[key]
        return super().forward(x) if fast is None else fast(x)

    def _fastest(self, x: Tensor) -> fast_cpu.FastBlur | None:
        """Return a faster form for inputs like x, or None."""
        filt = self.filt.double()
        lines = filt[0, 0].sum(1), filt[0, 0].sum(0)
        separable = torch.allclose(torch.outer(*lines).expand_as(filt), filt, atol=1e-6)
        padding = self._padding[0]
        if not separable or padding < 0 or max(x.shape[2:]) > fast_cpu.LARGEST:
            return None
        down, right = (self._axis(x, axis, lines[axis]) for axis in (0, 1))
        sizes = zip(x.shape[2:], self.stride, (down, right), strict=True)
        if any((n + 2 * padding - self.filter_size) // s + 1 != len(m.blur) for n, s, m in sizes):
            # an even filter that ends beyond the padding: one zero more makes it odd and centred
            filt, padding = F.pad(filt, (1, 0, 1, 0)), self._padding[1]
        return fast_cpu.fastest(x, down, right, filt.to(x.dtype), self.stride, padding)

    def _axis(self, x: Tensor, axis: int, line: Tensor) -> fast_cpu.Axis:
        identity = torch.eye(x.shape[2 + axis], dtype=line.dtype).unsqueeze(1)
        padded = self._padded(identity, 1), F.pad(identity, self._padding)
        return fast_cpu.Axis.from_identity(line[None, None], *padded, self.stride[axis]).to(x.dtype)


Blur = Callable[[int], BlurPool]
"""A function from channels to a blur; the blurs of the published networks have stride 2."""


class BlurPool1d(_BlurPool):
    """`BlurPool` for signals [N, channels, length], with the same arguments."""

    axes = 1


class MaxBlurPool(nn.Sequential):
    """Max-pooling without aliasing: a dense maximum, then a blurred subsampling.

    >>> import torch
    >>> import robustbench_aa as rb
    >>> rb.MaxBlurPool(8, kernel_size=2)(torch.zeros(1, 8, 32, 32)).shape
    torch.Size([1, 8, 16, 16])

    Args:
        channels: Number of input channels.
        kernel_size: Kernel size of the maximum.
        filter_size: Filter size of the blur.
        stride: Stride of the subsampling.
        padding, dilation, ceil_mode: See `torch.nn.MaxPool2d`.
        padding_mode: Padding mode of the blur. If it is `circular`, the maximum is circular too;
            otherwise its windows are cut off at the border.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int] = 2,
        filter_size: int = 4,
        stride: int | tuple[int, int] = 2,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        ceil_mode: bool = False,
        padding_mode: PaddingMode = "reflect",
    ) -> None:
        window = Window(kernel_size, stride, padding, dilation, ceil_mode)
        circular = padding_mode == "circular"
        blur = BlurPool(channels, filter_size, stride, padding_mode)
        super().__init__(*dense_max_pool(window, circular=circular), blur)


class ConvBlurPool(nn.Sequential):
    """A strided convolution and ReLU without aliasing: both dense, then a blurred subsampling.

    The blur comes after the non-linearity, because a non-linearity creates new high frequencies.

    Args:
        inputs, outputs: Numbers of channels.
        kernel_size: Kernel size of the convolution. Zero padding keeps the size for odd kernels.
        filter_size: Filter size of the blur.
        stride: Stride of the subsampling.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int = 3,
        filter_size: int = 4,
        stride: int | tuple[int, int] = 2,
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2),
            nn.ReLU(),
            BlurPool(outputs, filter_size, stride),
        )
