"""Distortions: the changes to a clean image before a classifier sees it.

`distort` is the only function that makes what a classifier sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from robustbench_aa.distortions import imagecorruptions_backend
from robustbench_aa.distortions.corruptions import CORRUPTIONS, corrupt
from robustbench_aa.distortions.corruptions.corruption import check_bytes
from robustbench_aa.distortions.corruptions.jpeg import STORED_QUALITY, through_jpeg
from robustbench_aa.distortions.perturbations import COUNTED, perturb, table_of
from robustbench_aa.distortions.rng import Draws, image_seed
from robustbench_aa.distortions.severities import SEVERITIES, TABLES, Row, published_size
from robustbench_aa.distortions.shifts import PROTOCOLS, shift, shift_frames
from robustbench_aa.support.process import one_core_each
from robustbench_aa.types import Distortion

__all__ = [
    "BACKENDS",
    "acts_on_original",
    "corruptions_at",
    "distort",
    "frames",
    "perturbations_at",
    "shifts_by",
]

BACKENDS = ("torch", "imagecorruptions")


def corruptions_at(size: int) -> list[Distortion]:
    """Return every corruption × severity that is defined for images of about `size` pixels."""
    table = TABLES[published_size(size)]
    return [_corruption(name, severity, table) for name in table for severity in SEVERITIES]


def _corruption(name: str, severity: int, table: Mapping[str, Row]) -> Distortion:
    corruption = CORRUPTIONS[name]
    group, version, source = corruption.group, corruption.version, corruption.source
    if source:  # the parameters of a user's corruption are part of its definition too
        definition = f"{source} {table[name][severity - 1]}"
        source = hashlib.sha256(definition.encode()).hexdigest()
    return Distortion("corruption", name, severity, group=group, version=version, source=source)


def perturbations_at(size: int) -> list[Distortion]:
    """Return every perturbation of images of `size` pixels, those that mFR counts first."""
    return [
        Distortion(
            "perturbation",
            name,
            group="perturbation" if name in COUNTED[size] else "perturbation_extra",
            role="counted" if name in COUNTED[size] else "holdout",
            compared_with=perturbation.compared_with,
            version=perturbation.version,
            source=perturbation.source,
        )
        for name, perturbation in table_of(size).items()
    ]


def shifts_by(*counted: str) -> list[Distortion]:
    """Return every shift protocol; those that are named come first and are always evaluated."""
    others = [protocol for protocol in PROTOCOLS if protocol not in counted]
    return [
        Distortion(
            "shift",
            protocol,
            role="counted" if protocol in counted else "holdout",
            version=PROTOCOLS[protocol].version,
        )
        for protocol in (*counted, *others)
    ]


def frames(distortion: Distortion, size: int) -> int:
    """Return how many frames a distortion makes of one image of `size` pixels."""
    if distortion.kind == "perturbation":
        return table_of(size)[distortion.name].frames
    return shift_frames(distortion.name, size) if distortion.kind == "shift" else 1


def acts_on_original(distortion: Distortion, size: int) -> bool:
    """Return whether a distortion acts on photographs as they were before they were resized."""
    return distortion.kind == "perturbation" and table_of(size)[distortion.name].on_original


def distort(
    images: Tensor | Sequence[Tensor],
    distortion: Distortion,
    index: Iterable[int],
    seed: int,
    size: int,
    backend: str = "torch",
    stored_jpeg: bool = False,
) -> Tensor:
    """Return the frames that a classifier sees.

    The evaluation, the preview, the thumbnails and the `make` commands all get their frames from
    this function. It does not change the images. On a CPU each core distorts a part of them, unless
    the code that does so is not ours and need not be safe to call from several threads.

    Args:
        images: [B, 3, H, W], uint8, clean; a perturbation also takes images of several sizes.
        distortion: the distortion to apply.
        index: [B], the images' positions in their data set, on which their randomness depends.
        seed: the run's seed.
        size: height and width of the frames, in pixels.
        backend: the code that corrupts: `torch`, or the `imagecorruptions` package.
        stored_jpeg: whether corrupted images are finally stored as JPEG of quality 85, as the
            published ones were.

    Returns:
        [B, F, 3, size, size], uint8.

    Raises:
        UsageError: the images are not uint8.
    """
    check_bytes(images)
    places, how = list(index), (distortion, seed, size, backend, stored_jpeg)
    ours = backend == "torch" and not distortion.source
    parts = min(len(places), torch.get_num_threads()) if ours else 1
    if parts < 2 or images[0].device.type != "cpu":
        return _frames(images, places, *how)
    whole = torch.empty(len(places), frames(distortion, size), 3, size, size, dtype=torch.uint8)

    def fill(start: int, end: int) -> None:
        whole[start:end] = _frames(images[start:end], places[start:end], *how)

    ends = [len(places) * part // parts for part in range(parts + 1)]
    with one_core_each() as cores:
        list(cores.map(fill, ends[:-1], ends[1:]))  # raises what a part raised
    return whole


def _frames(
    images: Tensor | Sequence[Tensor],
    index: Sequence[int],
    distortion: Distortion,
    seed: int,
    size: int,
    backend: str,
    stored_jpeg: bool,
) -> Tensor:
    """Return the frames of images, computed in the thread that calls."""
    draws = Draws(seed, distortion, index, images[0].device)
    if distortion.kind == "perturbation":
        return perturb(images, distortion.name, size, draws)
    assert isinstance(images, Tensor)
    if distortion.kind == "shift":
        return shift(images, distortion.name, size, draws)
    if distortion.severity is None:
        return images.unsqueeze(1).clone()
    if backend == "imagecorruptions":
        seeds = [image_seed(seed, distortion, int(place)) for place in index]
        corrupted = imagecorruptions_backend.corrupt_batch(images, distortion, seeds)
    else:
        corrupted = corrupt(images, distortion.name, distortion.severity, draws)
    return (through_jpeg(corrupted, STORED_QUALITY) if stored_jpeg else corrupted).unsqueeze(1)
