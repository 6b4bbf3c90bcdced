"""Perturbations that are defined outside this package."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from torch import Tensor

from robustbench_aa.distortions.corruptions.corruption import (
    RandomNumbers,
    to_bytes,
)
from robustbench_aa.distortions.corruptions.registered import check_result
from robustbench_aa.distortions.perturbations import TABLES, Frames, Perturbation
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.support.checks import whole_number
from robustbench_aa.support.code import source_of
from robustbench_aa.support.pixels import fractions
from robustbench_aa.types import COMPARED_WITH

Function = TypeVar("Function", bound=Callable[..., Iterable[Tensor]])


def register_perturbation(
    frames: int, *, compared_with: str = "previous", version: int = 1
) -> Callable[[Function], Function]:
    """Return a decorator that registers a function as the perturbation with the function's name.

    The perturbation is then part of every data set whose images are perturbed as they are read, and
    of `perturb`. It is a hold-out: a run measures it only if it is named, and no published mean
    includes it. The file that defines the function is part of a run's identity, so a run is not
    continued with another definition.

    >>> import robustbench_aa as rb
    >>> import torch
    >>> @rb.register_perturbation(frames=3)
    ... def darker(images, draws):
    ...     for frame in range(3):
    ...         yield images * (1 - 0.25 * frame)
    >>> grey = torch.full((3, 32, 32), 200, dtype=torch.uint8)
    >>> rb.perturb(grey, "darker")[:, 0, 0, 0].tolist()
    [200, 150, 100]

    Args:
        frames: Number of frames in a sequence, at least 2.
        compared_with: The frame that each frame is compared with: the `previous` one, or the
            `first` one if the frames are independent noise.
        version: Version of the definition, which is part of a run's identity.

    The function takes images [B, 3, H, W] float32 in [0, 1], of 32 or 224 px, and a source of
    random numbers as in `register_corruption`. It yields or returns the frames one by one, of the
    same shape; values outside [0, 1] are clamped.

    Raises:
        UnknownName: Frames cannot be compared with such a frame.
        UsageError: The frames are too few, or the package has a perturbation of this name.
    """
    frames = whole_number("frames", frames, least=2)
    version = whole_number("version", version, least=1)
    if compared_with not in COMPARED_WITH:
        raise UnknownName("frame to compare with", compared_with, COMPARED_WITH)

    def register(function: Function) -> Function:
        name = function.__name__
        if not name.isidentifier():
            raise UsageError(f"a perturbation is named by its function; give {name} a name by def")
        definition = f"{source_of(function)} {frames} {compared_with}"
        again_perturbations(
            {
                name: Perturbation(
                    frames,
                    middle=_checked(function, frames, name),
                    compared_with=compared_with,
                    version=version,
                    source=hashlib.sha256(definition.encode()).hexdigest(),
                )
            }
        )
        return function

    return register


def registered_perturbations() -> dict[str, Perturbation]:
    """Return all perturbations that are defined outside this package, by name."""
    (table, *_) = TABLES.values()  # they are in the tables of all sizes
    return {name: each for name, each in table.items() if each.source}


def again_perturbations(perturbations: dict[str, Perturbation]) -> None:
    """Register perturbations; they replace registered ones of the same name.

    Raises:
        UsageError: the package has a perturbation of this name.
    """
    for name, perturbation in perturbations.items():
        for table in TABLES.values():
            if name in table and not table[name].source:
                raise UsageError(f"the package has a perturbation {name}; give yours another name")
        for table in TABLES.values():
            table[name] = perturbation


def _checked(
    function: Callable[..., Iterable[Tensor]], frames: int, name: str
) -> Callable[[Tensor, RandomNumbers], Frames]:
    """Return a function from bytes to bytes, which checks what the user's function makes."""

    def middle(images: Tensor, draws: RandomNumbers) -> Frames:
        made = 0
        sequence = function(fractions(images), draws)
        if not isinstance(sequence, Iterable):
            found = type(sequence).__name__
            raise UsageError(
                f"perturbation {name} returned {found}; yield or return {frames} frames"
            )
        for made, frame in enumerate(sequence, start=1):
            if made > frames:
                break
            check_result(frame, images, f"perturbation {name}")
            yield to_bytes(frame)
        if made != frames:
            number = "more" if made > frames else str(made)
            raise UsageError(
                f"perturbation {name} made {number} frames instead of {frames}; make as many as "
                "it is registered with"
            )

    return middle
