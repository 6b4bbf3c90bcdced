"""Make the embedded digits: `python -m data_prep.make_digits`.

scikit-learn's handwritten digits are 1,797 scans of 8×8 pixels with values 0 to 16 (Alpaydin and
Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, CC BY 4.0).
They are scaled to 8 bits and enlarged once, so that all readers get the same pixels, whatever
their libraries.
"""

from __future__ import annotations

import click
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from robustbench_aa.datasets.digits import ARCHIVE, SIZE


def enlarged_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the scans, [1797, 32, 32] uint8, and their classes, [1797] uint8."""
    scans = load_digits()
    grey = np.round(scans.images * (255 / 16)).astype(np.uint8)
    images = [Image.fromarray(scan).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for scan in grey]
    return np.stack([np.asarray(image) for image in images]), scans.target.astype(np.uint8)


@click.command()
def main() -> None:
    """Write the enlarged digits into the package."""
    images, labels = enlarged_digits()
    np.savez_compressed(ARCHIVE, images=images, labels=labels)
    click.echo(f"{len(images)} digits in {ARCHIVE}")


if __name__ == "__main__":
    main()
