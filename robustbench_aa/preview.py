"""A contact sheet of an image under every corruption at every severity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from robustbench_aa.datasets.pictures import AS_MADE, decode
from robustbench_aa.distortions import corruptions_at, distort
from robustbench_aa.distortions.severities import SEVERITIES
from robustbench_aa.errors import UsageError

SIZE = AS_MADE.size
LABEL = 220
"""Width in pixels of the column with the corruptions' names."""


def contact_sheet(path: Path, seed: int = 0) -> Image.Image:
    """Return a contact sheet of an image, with a row per corruption and a column per severity.

    Each cell shows the middle 224 × 224 px as a model sees them in `imagenet-c-live`, after the
    final JPEG of quality 85.

    Args:
        path: An image file.
        seed: Seed of the corruptions' randomness.

    Raises:
        DatasetError: The image cannot be read.
    """
    image = decode(path, AS_MADE.square).unsqueeze(0)
    cells = corruptions_at(SIZE)
    names = list(dict.fromkeys(cell.name for cell in cells))
    sheet = Image.new("RGB", (LABEL + SIZE * len(SEVERITIES), SIZE * len(names)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(22)
    for cell in cells:
        row = names.index(cell.name)
        frame = distort(image, cell, [0], seed, SIZE, stored_jpeg=True)[0, 0].permute(1, 2, 0)
        left = LABEL + SIZE * SEVERITIES.index(cell.severity or 1)
        sheet.paste(Image.fromarray(np.ascontiguousarray(frame.numpy())), (left, SIZE * row))
        draw.text((8, SIZE * row + SIZE // 2), cell.name, "black", font, anchor="lm")
    return sheet


def write_contact_sheet(path: Path, output: Path, seed: int = 0) -> None:
    """Write the contact sheet of an image; see `contact_sheet`.

    Raises:
        DatasetError: The image cannot be read.
        UsageError: The sheet cannot be written.
    """
    sheet = contact_sheet(path, seed)
    try:
        sheet.save(output)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {output} ({error}); name a .png or .jpg file") from error
