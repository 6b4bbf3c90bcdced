"""Downsampling in the Fourier domain: an ideal low-pass filter and a subsampling in one step.

    FLC     keep the frequencies below the new sampling's limit, remove all others:
            Grabinski et al., "FrequencyLowCut Pooling", ECCV 2022
    ASAP    the same, with a Hamming window over the kept frequencies, against ringing:
            Grabinski et al., arXiv 2307.09804

The Fourier transform, the cut and the transform back are linear, so for each axis they are one
matrix, D[t, x] = 1/n Σ_k w_k cos(2πk (t/m − x/n)) for a size n, a new size m and |k| < m/2. Two
products by small matrices are faster than the transforms at the sizes of feature maps.

An even new size has a frequency of exactly its limit, k = m/2, where both +k and −k fall: the new
map could not hold its phase, and a shift would change its size. It is removed. So a size of 2
becomes the mean, and so does 4: an axis of two pixels holds only its mean below its limit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robustbench_aa.antialiasing.windows import pair


class FourierPool(nn.Module):
    """FLC pooling: all frequencies that the smaller map can hold, and no others.

    The Fourier transform treats the map as periodic, whatever the padding of the network.

    Args:
        stride: Factor by which each axis becomes smaller: one number, or one for each axis.
        window: Whether a Hamming window weights the kept frequencies (ASAP): 1 for the mean, 0.08
            at the limit.
    """

    def __init__(self, stride: int | tuple[int, int] = 2, *, window: bool = False) -> None:
        super().__init__()
        self.stride, self.window = pair(stride), window
        self._matrices: dict[tuple[object, ...], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, ⌈H / stride⌉, ⌈W / stride⌉], in the memory format of x."""
        down, right = (self._matrix(x, axis) for axis in (0, 1))
        if x.is_contiguous():
            return down @ (x @ right.mT)
        images, channels, height, width = x.shape
        rows = down @ x.permute(0, 2, 3, 1).reshape(images, height, width * channels)
        blurred = right @ rows.view(images, -1, width, channels)
        return blurred.permute(0, 3, 1, 2)

    def _matrix(self, x: Tensor, axis: int) -> Tensor:
        size, stride = x.shape[2 + axis], self.stride[axis]
        if torch.compiler.is_compiling():
            return low_pass_matrix(size, stride, self.window).to(x.device, x.dtype)
        key = (size, stride, x.device, x.dtype)
        if key not in self._matrices:
            with torch.inference_mode(False), torch.no_grad():
                matrix = low_pass_matrix(size, stride, self.window)
                self._matrices[key] = matrix.to(x.device, x.dtype)
        return self._matrices[key]

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        shown = self.stride[0] if self.stride[0] == self.stride[1] else self.stride
        return f"stride={shown}, window={self.window}"


def low_pass_matrix(size: int, stride: int, window: bool = False) -> Tensor:
    """Return the low-pass filter and subsampling of an axis, float64 [⌈size / stride⌉, size].

    Args:
        size: Length of the axis.
        stride: Factor by which it becomes smaller; 1 gives the identity.
        window: Whether a Hamming window weights the kept frequencies.
    """
    if stride == 1:
        return torch.eye(size, dtype=torch.float64)
    small = -(-size // stride)
    kept = torch.arange((small + 1) // 2)  # 0 ≤ k < small / 2
    weights = torch.full(kept.shape, 2.0, dtype=torch.float64)  # for k and −k
    weights[0] = 1.0
    if window:
        weights = weights * (0.54 + 0.46 * torch.cos(kept.double() * (2 * math.pi / small)))
    new, old = torch.arange(small)[:, None] * size, torch.arange(size) * small
    # the remainder of whole turns is exact in integers
    turns = (kept[:, None, None] * (new - old)) % (size * small)
    waves = torch.cos(turns.double() * (2 * math.pi / (size * small)))
    return torch.einsum("k,ktx->tx", weights, waves) / size
