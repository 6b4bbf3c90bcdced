"""The photographs of frost that come with the imagecorruptions package."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from robustbench_aa.errors import UsageError

FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")


@lru_cache(maxsize=4)
def frost_photographs(scale: float) -> list[Tensor]:
    """The six photographs, [3, H, W] uint8 each, scaled bilinearly without smoothing.

    The package is looked for, not imported: it does not import beside all of its dependencies.

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
    if scale == 1:
        return photograph
    size = [round(length * scale) for length in photograph.shape[1:]]
    small = F.interpolate(photograph[None].float(), size, mode="bilinear", align_corners=False)
    return small[0].add_(0.5).byte()
