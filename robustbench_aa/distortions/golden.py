"""Golden pixels: the frames that each version of a distortion makes of one known picture.

`golden.json` holds their hashes, by which `robustbench-aa doctor` says whether a machine makes the
same pixels as the one that wrote them. The tests hold the pixels themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from robustbench_aa.distortions import corruptions_at, distort, perturbations_at
from robustbench_aa.types import Distortion

HASHES = Path(__file__).with_name("golden.json")
SIZE = 32
"""Height and width of the picture that the hashes are for, in pixels."""


def golden_picture(size: int) -> Tensor:
    """Return a picture made by integer arithmetic, [1, 3, size, size] uint8.

    It has slopes, edges, fine texture, black and white.
    """
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    channels = []
    for channel in range(3):
        slope = (x * (3 + channel) + y * 5) * 200 // (8 * size)
        blocks = 60 * ((x // 8 + y // 8 + channel) % 2)
        texture = (x * y * 7 + x * 13 + y * 29 + channel * 17) % 23
        plane = (slope + blocks + texture).clamp(0, 255)
        plane[: size // 8, : size // 8] = 0
        plane[-(size // 8) :, -(size // 8) :] = 255
        channels.append(plane)
    return torch.stack(channels).to(torch.uint8).unsqueeze(0)


def golden_frames(distortion: Distortion, size: int = SIZE) -> Tensor:
    """Return the frames that a distortion makes of the picture, [F, 3, size, size] uint8."""
    return distort(golden_picture(size), distortion, [0], 0, size)[0]


def golden_cells() -> Iterator[Distortion]:
    """Yield every corruption × severity and perturbation of this package."""
    for distortion in (*corruptions_at(SIZE), *perturbations_at(SIZE)):
        if not distortion.source:
            yield distortion


def key(distortion: Distortion) -> str:
    """Return the key of a distortion and its version in the files of golden pixels."""
    return f"{distortion.group} {distortion} v{distortion.version}"


def hashes() -> dict[str, str]:
    """Return the SHA-256 of every distortion's golden frames on this machine."""
    return {
        key(cell): hashlib.sha256(golden_frames(cell).numpy().tobytes()).hexdigest()
        for cell in golden_cells()
    }


def differing() -> list[str]:
    """Return the distortions whose pixels on this machine differ from the golden ones."""
    golden = json.loads(HASHES.read_text(encoding="utf-8"))
    return [name for name, found in hashes().items() if golden.get(name) != found]
