"""Weather: what light and air do to a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_aa.distortions.corruptions.corruption import RandomNumbers, corruption


@corruption("weather")
def brightness(images: Tensor, _draws: RandomNumbers, amount: float) -> Tensor:
    """Adds `amount` to the value V of HSV, clipped to 1; hue and saturation stay.

    V is the largest channel and the other two follow it in proportion, so the hue need not be
    computed; black has no hue and becomes grey.
    """
    value = images.amax(dim=1, keepdim=True)
    brighter = (value + amount).clamp_(max=1.0)
    return torch.where(value > 0, images * (brighter / value), brighter)
