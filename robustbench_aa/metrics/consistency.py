"""Consistency: how often a model predicts the same class for an image and its shifted copy.

Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), section 4: the
probability, over images and two independent shifts, that the top-1 classes agree. The true class
does not matter.
"""

from __future__ import annotations

import numpy as np


def circular_consistency(top1: np.ndarray) -> np.ndarray:
    """Return `consistency_circular` of each image, exactly over all pairs of shifts.

    If n_k of F shifts are classified as k, two independent shifts agree with probability
    Σ_k (n_k / F)².

    Args:
        top1: [N, F], integer: the top-1 class of each image under each of F shifts.

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
    """Return `consistency_crops` of each image: the share of its pairs of crops that agree.

    Args:
        top1: [N, F], integer: frames 2k and 2k + 1 are a pair.

    Returns:
        [N] float64 in [0, 1].

    Raises:
        ValueError: there are no images or no pairs.
    """
    if top1.size == 0 or top1.shape[1] % 2:
        raise ValueError("no pairs of predictions to compare")
    agreement: np.ndarray = (top1[:, ::2] == top1[:, 1::2]).mean(axis=1)
    return agreement


def consistency_among_correct(agreement: np.ndarray, wrong: np.ndarray) -> float:
    """Return the mean agreement of the images that were classified correctly at least once.

    It separates consistency from accuracy: images on which a model is always wrong do not count.

    Args:
        agreement: [N], consistency of each image.
        wrong: [N], share of each image's frames that were classified wrongly.

    Returns:
        A fraction in [0, 1]; NaN if there is no such image.
    """
    chosen = agreement[~(wrong == 1.0)]
    return float(chosen.mean()) if len(chosen) else float("nan")
