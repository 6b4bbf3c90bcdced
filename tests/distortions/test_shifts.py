from __future__ import annotations

import numpy as np
import pytest
import torch

from robustbench_aa.distortions.rng import Draws
from robustbench_aa.distortions.shifts import (
    circular_shifts,
    crops,
    diagonal_crops,
    shift,
    shift_frames,
)
from robustbench_aa.errors import UnknownName
from robustbench_aa.types import Distortion


def test_every_shift_occurs_once_in_reading_order() -> None:
    image = torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8)
    frames = circular_shifts(image, reach=2)
    assert frames.shape == (2, 25, 3, 8, 8)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            expected = np.roll(image.numpy(), (dy, dx), axis=(2, 3))
            assert np.array_equal(frames[:, (dy + 2) * 5 + dx + 2].numpy(), expected)


def photographs(count: int) -> torch.Tensor:
    """256 × 256 px whose values tell their row and column."""
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    image = torch.stack((rows, columns, torch.zeros(256, 256, dtype=torch.int64)))
    return image.byte().expand(count, 3, 256, 256)


def draws(first: int, count: int) -> Draws:
    return Draws(0, Distortion("shift", "crops"), range(first, first + count))


def test_crops_are_of_the_size_and_placed_evenly() -> None:
    frames = crops(photographs(200), 224, draws(0, 200))
    assert frames.shape == (200, 10, 3, 224, 224)
    corners = frames[:, :, :2, 0, 0].int().reshape(-1, 2)
    assert corners.min() == 0
    assert corners.max() == 31
    for axis in range(2):
        counts = torch.bincount(corners[:, axis], minlength=32)
        expected = len(corners) / 32
        assert ((counts - expected) ** 2 / expected).sum() < 62  # χ² of 31 degrees, p = 0.001
    assert abs(np.corrcoef(corners.numpy().T)[0, 1]) < 0.08
    assert (frames[..., 0, 0, 0].int() + 223 == frames[..., 0, 223, 223].int()).all()


def test_crops_depend_on_the_image_alone() -> None:
    together = crops(photographs(4), 224, draws(0, 4))
    assert torch.equal(crops(photographs(2), 224, draws(2, 2)), together[2:])
    assert not torch.equal(together[0], together[1])


def test_the_diagonal_goes_from_corner_to_corner() -> None:
    frames = diagonal_crops(photographs(2), 224)
    assert frames.shape == (2, 33, 3, 224, 224)
    assert frames[0, :, 0, 0, 0].tolist() == frames[0, :, 1, 0, 0].tolist() == list(range(33))


def test_circular_shifts_move_the_centre_crop() -> None:
    frames = shift(photographs(1), "circular", 224, draws(0, 1))
    assert frames.shape == (1, 81, 3, 224, 224)
    assert frames[0, 40, :2, 0, 0].tolist() == [16, 16]
    assert shift_frames("circular") == 81
    with pytest.raises(UnknownName, match="unknown shift protocol 'crop'; did you mean crops"):
        shift_frames("crop")
