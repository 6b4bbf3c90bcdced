"""Content-adaptive low-pass filters: Zou et al., "Delving Deeper into Anti-aliasing", BMVC 2020.

A blur removes the same frequencies everywhere, also where an edge needs them. Here a convolution
predicts a filter for each place and each group of channels; a softmax makes its weights positive
with sum 1, so it is a low-pass filter whatever the convolution learns.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_aa.antialiasing.layers import TORCH_MODES, PaddingMode, check_padding_mode
from robustbench_aa.antialiasing.windows import pair

FILTER_SIZES = (1, 3, 5, 7)


class AdaptiveBlurPool(nn.Module):
    """A predicted low-pass filter at each place, and a subsampling (DDAC).

    Args:
        channels: Number of input channels.
        filter_size: Size k of the filters: 1, 3, 5 or 7; 1 is plain subsampling.
        stride: Stride of the subsampling: one number, or one for each axis.
        padding_mode: Padding of the edges: `reflect`, `replicate`, `zero` or `circular`.
        groups: Number of groups of channels with a filter of their own; the largest common divisor
            with the number of channels, if it does not divide it.

    Raises:
        ValueError: The filter size or the padding mode does not exist.
    """

    def __init__(
        self,
        channels: int,
        filter_size: int = 3,
        stride: int | tuple[int, int] = 2,
        padding_mode: PaddingMode = "reflect",
        groups: int = 8,
    ) -> None:
        super().__init__()
        check_padding_mode(padding_mode)
        if filter_size not in FILTER_SIZES:
            raise ValueError(f"filter size {filter_size} does not exist; choose from 1, 3, 5, 7")
        self.channels, self.filter_size, self.stride = channels, filter_size, pair(stride)
        self.padding_mode, self.groups = padding_mode, math.gcd(groups, channels)
        self.predict = nn.Conv2d(channels, self.groups * filter_size**2, 3, self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, channels, ⌈H / stride⌉, ⌈W / stride⌉]."""
        filters = self.filters(x)
        phases = self._phases(self._padded(x, self.filter_size // 2), *filters.shape[-2:])
        terms = (
            filters[:, :, place, None] * seen.unflatten(1, (self.groups, -1))
            for place, seen in enumerate(phases)
        )
        total: Tensor = functools.reduce(torch.add, terms)
        return total.flatten(1, 2)

    def _phases(self, padded: Tensor, height: int, width: int) -> Iterator[Tensor]:
        """Yield the pixels under each coefficient of the filters, [N, channels, height, width].

        A padded map is subsampled once for each remainder of the stride, not once for each
        coefficient, because the gradient of a view is a map as large as what it is a view of.
        """
        rows, columns = self.stride
        maps = [[padded[:, :, i::rows, j::columns] for j in range(columns)] for i in range(rows)]
        for down, right in itertools.product(range(self.filter_size), repeat=2):
            phase = maps[down % rows][right % columns]
            top, left = down // rows, right // columns
            yield phase[:, :, top : top + height, left : left + width]

    def filters(self, x: Tensor) -> Tensor:
        """Return the filters of all kept places, [N, groups, k², ⌈H / stride⌉, ⌈W / stride⌉]."""
        scores: Tensor = self.predict(self._padded(x, 1))
        return torch.softmax(scores.unflatten(1, (self.groups, -1)), 2).to(x.dtype)

    def _padded(self, x: Tensor, padding: int) -> Tensor:
        return F.pad(x, (padding,) * 4, mode=TORCH_MODES[self.padding_mode])

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        stride = self.stride[0] if self.stride[0] == self.stride[1] else self.stride
        return (
            f"{self.channels}, filter_size={self.filter_size}, stride={stride}, "
            f"padding_mode={self.padding_mode}, groups={self.groups}"
        )
