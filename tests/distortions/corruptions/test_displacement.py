"""Both ways to blur along a line make the same pixels."""

from __future__ import annotations

import numpy as np
import torch

from robustbench_aa.distortions.corruptions.displacement import add_gathered, add_slices


def test_gathered_sums_are_those_of_slices() -> None:
    random = np.random.default_rng(0)
    padded = torch.from_numpy(random.random((3, 2, 20, 24), dtype=np.float32))
    down, right = random.integers(5, size=(4, 3)), random.integers(7, size=(4, 3))
    shares = [0.4, 0.3, 0.2, 0.1]
    found = [add(padded, (16, 18), down, right, shares) for add in (add_slices, add_gathered)]
    assert torch.equal(*found)
    x, first = padded[2, 1], (down[:, 2], right[:, 2])
    expected = sum(
        share * x[y : y + 16, z : z + 18] for y, z, share in zip(*first, shares, strict=True)
    )
    torch.testing.assert_close(found[0][2, 1], expected)
