"""The corruptions of ImageNet-C as batched torch functions, one file per group.

A corruption is a pure function of (images, severity, draws).
"""

from __future__ import annotations

from torch import Tensor

from robustbench_aa.distortions import severities
from robustbench_aa.distortions.corruptions import blur, digital, noise, spatter, weather
from robustbench_aa.distortions.corruptions.corruption import (
    CORRUPTIONS,
    Corruption,
    RandomNumbers,
    check_bytes,
    to_bytes,
)
from robustbench_aa.distortions.corruptions.registered import check_result
from robustbench_aa.support.pixels import fractions

__all__ = ["CORRUPTIONS", "Corruption", "RandomNumbers", "corrupt"]

_GROUPS = (noise, blur, weather, digital, spatter)  # importing a file registers its corruptions


def corrupt(images: Tensor, name: str, severity: int, draws: RandomNumbers) -> Tensor:
    """Corrupt 8-bit images as ImageNet-C's generation scripts do.

    Args:
        images: [B, 3, H, W], uint8, RGB, square and of a size with published severities.
        name: the corruption.
        severity: 1 to 5.
        draws: a source of random numbers for these images.

    Returns:
        [B, 3, H, W], uint8: clamped to [0, 1], scaled by 255 and truncated, as published.

    Raises:
        UnknownName: there is no such corruption.
        UsageError: the images are not uint8, the severity is not 1 to 5, no severities were
            published for this size, or a registered corruption returns something else.
    """
    check_bytes(images)
    corruption = CORRUPTIONS[name]
    parameters = severities.parameters(name, severity, images.shape[-1])
    if corruption.in_bytes:
        return corruption.function(images, draws, *parameters)
    result = corruption.function(fractions(images), draws, *parameters)
    if corruption.source:
        check_result(result, images, f"corruption {name}")
    return to_bytes(result)
