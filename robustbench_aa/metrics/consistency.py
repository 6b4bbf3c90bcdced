"""Consistency: how often a model answers alike for the same picture in two places.

Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), section 4: the
probability, over images and two independently drawn shifts, that the top-1 classes agree. The
true class does not matter.
"""

from __future__ import annotations

import numpy as np


def circular_consistency(top1: np.ndarray) -> np.ndarray:
    """`consistency_circular`, image by image: exact, over all pairs of shifts in the window.

    With n_k of F shifts classified as k, two shifts drawn independently agree with probability
    Σ_k (n_k / F)².

    Args:
        top1: [N, F], whole numbers: the top-1 class of each image under each of F shifts.

    Returns:
        [N] float64 in [1/F, 1].

    Raises:
        ValueError: there are no images or no shifts.
    """
    images, shifts = top1.shape
    if top1.size == 0:
        raise ValueError("no predictions to compare")
    agreeing = np.zeros(images)
    for shift in range(shifts):
        agreeing += (top1 == top1[:, shift, None]).sum(axis=1)
    agreement: np.ndarray = agreeing / shifts**2
    return agreement


def crop_consistency(top1: np.ndarray) -> np.ndarray:
    """`consistency_crops`, image by image: the share of pairs of crops that agree.

    Args:
        top1: [N, F], whole numbers: frames 2k and 2k + 1 are a pair.

    Returns:
        [N] float64 in [0, 1].

    Raises:
        ValueError: there are no images or no pairs.
    """
    if top1.size == 0 or top1.shape[1] % 2:
        raise ValueError("no pairs of predictions to compare")
    agreement: np.ndarray = (top1[:, ::2] == top1[:, 1::2]).mean(axis=1)
    return agreement


def among_correct(agreement: np.ndarray, wrong: np.ndarray) -> float:
    """The mean agreement of the images that were classified correctly at least once.

    It tells consistency from accuracy: a model cannot be consistent by being wrong alike.

    Args:
        agreement: [N].
        wrong: [N], the share of each image's frames that were classified wrongly.

    Returns:
        A fraction in [0, 1]; NaN if there is no such image.
    """
    chosen = agreement[~(wrong == 1.0)]
    return float(chosen.mean()) if len(chosen) else float("nan")
