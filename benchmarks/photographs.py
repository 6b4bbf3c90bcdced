"""The photographs that benchmarks use: those that come with packages."""

from __future__ import annotations

import numpy as np
from skimage.data import astronaut, chelsea, coffee


def originals() -> tuple[np.ndarray, ...]:
    """Return three photographs, [H, W, 3] uint8, of at least 300 × 400 pixels.

    Two are scikit-learn's. Where it is not installed, others of scikit-image take their place.
    """
    try:
        from sklearn.datasets import load_sample_image
    except ImportError:
        return astronaut(), coffee(), chelsea()
    return astronaut(), load_sample_image("china.jpg"), load_sample_image("flower.jpg")
