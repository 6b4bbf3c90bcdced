from __future__ import annotations

import numpy as np
import torch

from robustbench_aa.distortions.shifts import circular_shifts


def test_every_shift_is_there_once_in_reading_order() -> None:
    image = torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8)
    frames = circular_shifts(image, reach=2)
    assert frames.shape == (2, 25, 3, 8, 8)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            expected = np.roll(image.numpy(), (dy, dx), axis=(2, 3))
            assert np.array_equal(frames[:, (dy + 2) * 5 + dx + 2].numpy(), expected)
