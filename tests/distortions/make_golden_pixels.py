"""Write the golden pixels: `python -m tests.distortions.make_golden_pixels`.

Run it after a distortion has got a new version, never to make a failing test pass: pixels of a
version that exists must stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from robustbench_aa.distortions import corruptions_at
from robustbench_aa.distortions.golden import (
    HASHES,
    SIZE,
    golden_cells,
    golden_frames,
    hashes,
    key,
)
from robustbench_aa.types import Distortion

PIXELS = Path(__file__).with_name("golden_pixels.npz")
OTHER_SIZES = (64, 224, 299)
"""Larger pictures, of which one severity of each corruption and every seventh pixel is kept."""
STRIDE = 7


def golden() -> Iterator[tuple[str, Distortion, int]]:
    """Yield every golden picture: its name, its distortion and its size."""
    for cell in golden_cells():
        yield f"{key(cell)} {SIZE}px", cell, SIZE
    for size in OTHER_SIZES:
        for place, cell in enumerate(corruptions_at(size)):
            # severities 1 to 5 in turn
            if cell.severity == 1 + (place // 5) % 5:
                yield f"{key(cell)} {size}px", cell, size


def kept_pixels(cell: Distortion, size: int) -> np.ndarray:
    """Return the pixels of a golden picture that are kept."""
    frames = golden_frames(cell, size).numpy()
    if size != SIZE:
        return frames[..., ::STRIDE, ::STRIDE]
    return frames[[0, len(frames) // 2, -1]] if len(frames) > 1 else frames


def main() -> None:
    """Write the pixels and their hashes."""
    np.savez_compressed(PIXELS, **{name: kept_pixels(cell, size) for name, cell, size in golden()})
    HASHES.write_text(json.dumps(hashes(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
