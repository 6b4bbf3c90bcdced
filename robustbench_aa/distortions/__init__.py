"""Distortions: everything that may be done to a clean image before a classifier sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from robustbench_aa.distortions import reference
from robustbench_aa.distortions.corruptions import CORRUPTIONS, corrupt
from robustbench_aa.distortions.draws import Draws, image_seed
from robustbench_aa.distortions.perturbations import COUNTED, perturb, table_of
from robustbench_aa.distortions.severities import SEVERITIES, TABLES, published_size
from robustbench_aa.distortions.shifts import shift, shift_frames
from robustbench_aa.types import Distortion

__all__ = ["BACKENDS", "corruptions_at", "distort", "frames", "perturbations_at", "shifts_by"]

BACKENDS = ("torch", "imagecorruptions")


def corruptions_at(size: int) -> list[Distortion]:
    """Every corruption × severity with published parameters for images of about `size` pixels."""
    return [
        Distortion(CORRUPTIONS[name].family, name, severity)
        for name in TABLES[published_size(size)]
        for severity in SEVERITIES
    ]


def perturbations_at(size: int) -> list[Distortion]:
    """Every perturbation of images of `size` pixels, those that a mean flip rate counts first."""
    return [
        Distortion("perturbation" if name in COUNTED[size] else "perturbation_extra", name)
        for name in table_of(size)
    ]


def shifts_by(*protocols: str) -> list[Distortion]:
    """Shift protocols as distortions."""
    return [Distortion("shift", protocol) for protocol in protocols]


def frames(distortion: Distortion, size: int) -> int:
    """How many frames a distortion makes of one image of `size` pixels."""
    if distortion.family.startswith("perturbation"):
        return table_of(size)[distortion.name].frames
    return shift_frames(distortion.name) if distortion.family == "shift" else 1


def distort(
    images: Tensor | Sequence[Tensor],
    distortion: Distortion,
    index: Iterable[int],
    seed: int,
    size: int,
    backend: str = "torch",
) -> Tensor:
    """Makes the frames that a classifier is to see.

    Args:
        images: [B, 3, H, W], uint8, clean; a perturbation also takes images of several sizes.
        distortion: what to do to them.
        index: [B], the images' places in their data set, on which their randomness depends.
        seed: the run's seed.
        size: height and width of the frames, in pixels.
        backend: what corrupts: `torch`, or the `imagecorruptions` package.

    Returns:
        [B, F, 3, size, size], uint8.
    """
    draws = Draws(seed, distortion, index, images[0].device)
    if distortion.family.startswith("perturbation"):
        return perturb(images, distortion.name, size, draws)
    assert isinstance(images, Tensor)
    if distortion.family == "shift":
        return shift(images, distortion.name, size, draws)
    if distortion.severity is None:
        return images.unsqueeze(1)
    if backend == "imagecorruptions":
        seeds = [image_seed(seed, distortion, int(place)) for place in index]
        return reference.corrupt_batch(images, distortion, seeds).unsqueeze(1)
    return corrupt(images, distortion.name, distortion.severity, draws).unsqueeze(1)
