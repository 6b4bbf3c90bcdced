"""JPEG as libjpeg encodes and decodes it: 4:2:0, the accurate integer transform, Annex K's tables.

The steps that lose information are integer arithmetic on whole planes, so they run on batches. The
entropy coding loses nothing and is left out. The transform is that of Loeffler, Ligtenberg and
Moschytz ("Practical fast 1-D DCT algorithms with 11 multiplications", ICASSP 1989) with constants
of 13 bits. A one-dimensional pass is linear in integers and rounds once at its end. It is therefore
a matrix product, and the inverse transform is the transposed matrix. Float64 holds all of these
integers exactly.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

STORED_QUALITY = 85
"""The JPEG quality in which the pictures of ImageNet-C were stored."""

LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
"""Quantisation steps of luma at quality 50, row by row: ITU-T T.81, table K.1."""
CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
"""Quantisation steps of chroma at quality 50: table K.2."""
BITS = 13
"""Fraction bits of the transform's constants."""
KEPT_BITS = 2
"""Fraction bits that are kept between the two passes of the transform."""


def through_jpeg(images: Tensor, quality: int) -> Tensor:
    """Encode images as JPEG files and decode them.

    Args:
        images: [B, 3, H, W], uint8, RGB.
        quality: 1 to 100, libjpeg's scale.

    Returns:
        [B, 3, H, W], uint8: the same on every device, and the same as Pillow's.
    """
    if images.device.type == "cpu":
        return _through_pillow(images, quality)  # libjpeg is several times as fast there
    return through_planes(images, quality)


def _through_pillow(images: Tensor, quality: int) -> Tensor:
    pictures = images.permute(0, 2, 3, 1).contiguous().numpy()
    result = np.empty_like(pictures)
    for picture, place in zip(pictures, result, strict=True):
        file = BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=int(quality))
        place[...] = Image.open(file)
    return torch.from_numpy(result).permute(0, 3, 1, 2).contiguous()


def through_planes(images: Tensor, quality: int) -> Tensor:
    """Do the same by arithmetic on planes, for images of at least 5 × 5 pixels on any device."""
    height, width = images.shape[-2:]
    luma, chroma = _to_ycc(_padded(images.long(), 2, 16))
    luma = _padded(luma, 8, 8)
    chroma = _padded(_halved(chroma), 8, 8)
    luma = _quantised(luma, _steps(LUMA, quality, images.device))[..., :height, :width]
    chroma = _quantised(chroma, _steps(CHROMA, quality, images.device))
    chroma = _doubled(chroma[..., : (height + 1) // 2, : (width + 1) // 2])
    return _to_rgb(luma, chroma[..., :height, :width]).byte()


def _padded(planes: Tensor, rows: int, columns: int) -> Tensor:
    """Repeat the last row and column of integers [B, C, H, W] up to multiples."""
    height, width = planes.shape[-2:]
    extra = (0, -width % columns, 0, -height % rows)
    return F.pad(planes.double(), extra, mode="replicate").long()


def _to_ycc(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Return luma [B, 1, H, W] and chroma [B, 2, H, W], 0 to 255 (JFIF), by 16-bit constants."""
    red, green, blue = rgb.unbind(1)
    half, middle = 1 << 15, (128 << 16) + (1 << 15) - 1
    luma = (19595 * red + 38470 * green + 7471 * blue + half) >> 16
    blueness = (-11059 * red - 21709 * green + 32768 * blue + middle) >> 16
    redness = (32768 * red - 27439 * green - 5329 * blue + middle) >> 16
    return luma.unsqueeze(1), torch.stack((blueness, redness), dim=1)


def _to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    blueness, redness = (chroma - 128).unbind(1)
    half = 1 << 15
    offsets = (
        (91881 * redness + half) >> 16,
        (-22554 * blueness - 46802 * redness + half) >> 16,
        (116130 * blueness + half) >> 16,
    )
    return (luma + torch.stack(offsets, dim=1)).clamp_(0, 255)


def _halved(planes: Tensor) -> Tensor:
    """Return means of 2 × 2 pixels, rounded down and up in alternate columns."""
    sums = planes[..., ::2, ::2] + planes[..., 1::2, ::2]
    sums += planes[..., ::2, 1::2] + planes[..., 1::2, 1::2]
    bias = 1 + torch.arange(sums.shape[-1], device=planes.device) % 2
    return (sums + bias) >> 2


def _doubled(planes: Tensor) -> Tensor:
    """Interpolate to twice the size: 9, 3, 3 and 1 sixteenths of the four nearest values."""
    rows = _interleaved(planes, -2)
    left, right = (_interleaved(rows, -1)[..., side::2] for side in (0, 1))
    return torch.stack(((left + 8) >> 4, (right + 7) >> 4), dim=-1).flatten(-2)


def _interleaved(planes: Tensor, dim: int) -> Tensor:
    """Double an axis: 3 · value + the one before it, 3 · value + the one after it."""
    length = planes.shape[dim]
    place = torch.arange(length, device=planes.device)
    before = planes.index_select(dim, (place - 1).clamp_(min=0))
    after = planes.index_select(dim, (place + 1).clamp_(max=length - 1))
    pairs = torch.stack((3 * planes + before, 3 * planes + after), dim=dim)
    return pairs.flatten(dim - 1, dim)


def _quantised(planes: Tensor, steps: Tensor) -> Tensor:
    """Transform planes [B, C, H, W], quantise them, and transform them back."""
    transform = _transform().to(planes.device)
    blocks = planes.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)
    found = _descaled((blocks - 128).double() @ transform.T, BITS - KEPT_BITS)
    found = _descaled(transform @ found, BITS + KEPT_BITS)
    whole = found.abs().add_(4 * steps).div_(8 * steps).floor_() * found.sign() * steps
    found = _descaled(transform.T @ whole, BITS - KEPT_BITS)
    found = _descaled(found @ transform, BITS + KEPT_BITS + 3)
    found = found.add_(128).clamp_(0, 255).long()
    return found.transpose(-3, -2).flatten(-4, -3).flatten(-2)


def _descaled(values: Tensor, bits: int) -> Tensor:
    """Divide by 2 to the power of `bits` and round halves up, in place."""
    return values.add_(2.0 ** (bits - 1)).mul_(2.0**-bits).floor_()


def _steps(table: tuple[int, ...], quality: int, device: torch.device) -> Tensor:
    """Return the quantisation steps at a quality, as libjpeg scales them, [8, 8] float64."""
    percent = 5000 // int(quality) if quality < 50 else 200 - 2 * int(quality)
    steps = (torch.tensor(table, device=device) * percent + 50).div(100, rounding_mode="floor")
    return steps.clamp(1, 255).view(8, 8).double()


@cache
def _transform() -> Tensor:
    """Return 2¹³ · √8 times the discrete cosine transform, [8, 8] float64 integers."""
    even = torch.zeros(4, 4, dtype=torch.float64)  # frequencies 0, 2, 4, 6 of the four sums
    turn, plus, minus = (_fixed(x) for x in (0.541196100, 0.765366865, 1.847759065))
    one = 2.0**BITS
    even[0], even[2] = one, torch.tensor((one, -one, -one, one))
    upper, lower = turn + plus, turn - minus
    even[1] = torch.tensor((upper, turn, -turn, -upper))
    even[3] = torch.tensor((turn, lower, -lower, -turn))
    # frequencies 7, 5, 3, 1 of the four differences, the innermost pair's first
    direct = (0.298631336, 2.053119869, 3.072711026, 1.501321110)
    shared = _fixed(1.175875602)
    odd = torch.diag(torch.tensor([_fixed(x) for x in direct], dtype=torch.float64)) + shared
    for pair, factor in (
        ((0, 3), 0.899976223),
        ((1, 2), 2.562915447),
        ((0, 2), 1.961570560),
        ((1, 3), 0.390180644),
    ):
        for row in pair:
            odd[row, list(pair)] -= _fixed(factor)
    transform = torch.empty(8, 8, dtype=torch.float64)
    transform[::2] = torch.cat((even, even.flip(1)), dim=1)
    half = odd.flip(0, 1)
    transform[1::2] = torch.cat((half, -half.flip(1)), dim=1)
    return transform


def _fixed(value: float) -> float:
    return float(round(value * 2**BITS))
