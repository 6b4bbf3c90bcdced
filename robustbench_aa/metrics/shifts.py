"""The metrics of shifts, from the classes that a model predicts for the frames of each image.

| metric | value of an image |
|---|---|
| `consistency` | the probability that two shifts get the same class (Zhang, ICML 2019) |
| `accuracy_worst` | 1 if every frame is classified correctly (Azulay and Weiss, JMLR 2019) |
| `fooled` | 1 if a step of one pixel changes the class (Azulay and Weiss) |
| `accuracy_drop` | 1 if it is correct without a shift, minus the share of correct shifts |
| `probability_change` | the mean absolute change of the probability of the unshifted class |

The last two are of Michaeli et al., "Alias-Free Convnets" (CVPR 2023). A metric is the mean over
the images. `halfpixel` has steps of half a pixel. Protocols of random shifts have no frame without
a shift, and so only a consistency.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from robustbench_aa.metrics.consistency import circular_consistency, crop_consistency
from robustbench_aa.types import Distortion, unshifted


@dataclass(frozen=True)
class Protocol:
    """The relations between the frames of a shift protocol.

    Attributes:
        consistency: a function top1 [N, F] → consistency [N]; None if it has none.
        nearest: a function F → the frames one step away from the one without a shift.
    """

    consistency: Callable[[np.ndarray], np.ndarray] | None
    nearest: Callable[[int], list[int]] = lambda frames: [*range(1, frames)]


def reference_consistency(top1: np.ndarray) -> np.ndarray:
    """Return the share of each image's frames that get the class of frame 0.

    Args:
        top1: [N, F], integer.

    Returns:
        [N] float64 in [0, 1].
    """
    agreement: np.ndarray = (top1[:, 1:] == top1[:, :1]).mean(axis=1)
    return agreement


def _around(frames: int) -> list[int]:
    """Return the eight frames around the middle of a square of frames."""
    side = round(frames**0.5)
    steps = [dy * side + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return [frames // 2 + step for step in steps if step]


def _beside(frames: int) -> list[int]:
    return [frames // 2 - 1, frames // 2 + 1]


PROTOCOLS: Mapping[str, Protocol] = {
    "crops": Protocol(crop_consistency),
    "circular32": Protocol(crop_consistency),
    "circular": Protocol(circular_consistency, _around),
    "neighbours": Protocol(reference_consistency),
    "halfpixel": Protocol(reference_consistency),
    "diagonal": Protocol(None, _beside),
}
"""Shift protocols by name."""
OTHER = Protocol(circular_consistency)
"""A protocol of somebody else's data set, whose frames are alike."""
EXTREMES = {
    "consistency": (1.0, 0.0),
    "accuracy_worst": (1.0, 0.0),
    "fooled": (0.0, 1.0),
    "accuracy_drop": (-1.0, 1.0),
    "probability_change": (0.0, 1.0),
}
"""The best and the worst value of each metric of shifts."""
METRICS_OF_SHIFTS = tuple(EXTREMES)


def metrics_of(shift: Distortion, frames: int) -> tuple[str, ...]:
    """Return the metrics that a shift protocol of F frames has."""
    found = ("consistency",) if PROTOCOLS.get(shift.name, OTHER).consistency else ()
    return found if unshifted(shift, frames) is None else (*found, *METRICS_OF_SHIFTS[1:])


def measure_shift(
    shift: Distortion, label: np.ndarray, top1: np.ndarray, probability: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the metrics of each image under a shift protocol, those that the protocol has.

    Args:
        shift: the protocol.
        label: [N, F], integer: the true classes.
        top1: [N, F], integer: the predicted classes.
        probability: [N, F]: the probability of the class that is predicted without a shift. NaN
            where it was not stored. Only protocols with a frame without a shift need it.

    Returns:
        By metric, [N] float64 in [0, 1]; `accuracy_drop` is in [−1, 1].

    Raises:
        ValueError: there are no images or no frames.
    """
    if top1.size == 0:
        raise ValueError("no predictions to compare")
    found: dict[str, np.ndarray] = {}
    how, frames = PROTOCOLS.get(shift.name, OTHER), top1.shape[1]
    if how.consistency is not None:
        found["consistency"] = how.consistency(top1)
    still = unshifted(shift, frames)
    if still is not None and probability is not None:
        right = top1 == label
        steps = top1[:, how.nearest(frames)]
        found["accuracy_worst"] = right.all(axis=1).astype(np.float64)
        found["fooled"] = (steps != top1[:, still, None]).any(axis=1).astype(np.float64)
        found["accuracy_drop"] = right[:, still] - np.delete(right, still, axis=1).mean(axis=1)
        change = np.abs(np.delete(probability, still, axis=1) - probability[:, still, None])
        found["probability_change"] = change.mean(axis=1, dtype=np.float64)
    return found
