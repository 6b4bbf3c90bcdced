"""Distortions: everything that may be done to a clean image before a classifier sees it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from robustbench_aa.distortions import reference
from robustbench_aa.distortions.corruptions import CORRUPTIONS, corrupt
from robustbench_aa.distortions.draws import Draws, image_seed
from robustbench_aa.distortions.severities import SEVERITIES, TABLES, published_size
from robustbench_aa.distortions.shifts import REACH, circular_shifts
from robustbench_aa.types import Distortion

__all__ = ["BACKENDS", "CIRCULAR_SHIFTS", "corruptions_at", "distort", "frames"]

BACKENDS = ("torch", "imagecorruptions")
CIRCULAR_SHIFTS = Distortion("shift", "circular")


def corruptions_at(size: int) -> list[Distortion]:
    """Every corruption × severity with published parameters for images of about `size` pixels."""
    return [
        Distortion(CORRUPTIONS[name].family, name, severity)
        for name in TABLES[published_size(size)]
        for severity in SEVERITIES
    ]


def frames(distortion: Distortion) -> int:
    """How many frames a distortion makes of one image."""
    return (2 * REACH + 1) ** 2 if distortion.family == "shift" else 1


def distort(
    images: Tensor,
    distortion: Distortion,
    index: Iterable[int],
    seed: int,
    backend: str = "torch",
) -> Tensor:
    """Makes the frames that a classifier is to see.

    Args:
        images: [B, 3, H, W], uint8, clean.
        distortion: what to do to them.
        index: [B], the images' places in their data set, on which their randomness depends.
        seed: the run's seed.
        backend: what corrupts: `torch`, or the `imagecorruptions` package.

    Returns:
        [B, F, 3, H, W], uint8.
    """
    if distortion.family == "shift":
        return circular_shifts(images)
    if distortion.severity is None:
        return images.unsqueeze(1)
    if backend == "imagecorruptions":
        seeds = [image_seed(seed, distortion, int(place)) for place in index]
        return reference.corrupt_batch(images, distortion, seeds).unsqueeze(1)
    draws = Draws(seed, distortion, index, images.device)
    return corrupt(images, distortion.name, distortion.severity, draws).unsqueeze(1)
