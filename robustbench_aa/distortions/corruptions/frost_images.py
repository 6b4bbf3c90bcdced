"""The photographs of frost in the imagecorruptions package."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustbench_aa.errors import UsageError

FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")


@lru_cache(maxsize=4)
def frost_photographs(scale: float) -> list[Tensor]:
    """Return the six photographs, [3, H, W] uint8 each, scaled bilinearly without smoothing.

    The package is located but not imported, because the import fails beside today's dependencies.

    Raises:
        UsageError: the package is not installed.
    """
    package = find_spec("imagecorruptions")
    if package is None or package.origin is None:
        raise UsageError(
            "frost needs the photographs of imagecorruptions; pip install imagecorruptions"
        )
    folder = Path(package.origin).with_name("frost")
    return [_scaled(_read(folder / file), scale) for file in FILES]


def _read(path: Path) -> Tensor:
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()


def _scaled(photograph: Tensor, scale: float) -> Tensor:
    """Scale a photograph as OpenCV's `resize` does for a given scale.

    Samples are 1 / scale apart. The lengths of the result are rounded, so their ratio to the
    original lengths may differ from the scale.
    """
    if scale == 1:
        return photograph
    scaled = photograph.float()
    for dim in (1, 2):
        length = scaled.shape[dim]
        place = (torch.arange(round(length * scale)) + 0.5) * (1 / scale) - 0.5
        place.clamp_(0, length - 1)
        first = place.long().clamp_(max=length - 2)
        share = (place - first).view((1, -1, 1) if dim == 1 else (1, 1, -1))
        scaled = scaled.index_select(dim, first).lerp(scaled.index_select(dim, first + 1), share)
    return scaled.add_(0.5).byte()
