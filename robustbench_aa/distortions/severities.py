"""The published parameters of every corruption and severity, by image size in pixels.

224 and 299: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations" (ICLR 2019), the generation scripts of ImageNet-C. 64: those of
Tiny-ImageNet-C. 32: those of CIFAR-10-C. A row holds severities 1 to 5; a tuple is passed as
separate arguments. The order is the published one, with the hold-out corruptions last. Images of
another size use the table of the nearest size by ratio: 17 to 45 px that of 32 px, 46 to 119 px
that of 64 px, 120 to 258 px that of 224 px, and 259 to 597 px that of 299 px.
"""

from __future__ import annotations

import math

from robustbench_aa.errors import UnknownName, UsageError

SEVERITIES = (1, 2, 3, 4, 5)

Parameters = tuple[float, ...]
Row = tuple[Parameters, Parameters, Parameters, Parameters, Parameters]


def _elastic(size: int, *severities: Parameters) -> Row:
    """Return rows of α, σ and the jitter of the affine map, published as multiples of a length."""
    return _row(*(tuple(size * share for share in parameters) for parameters in severities))


def _fog(size: int, *severities: Parameters) -> Row:
    """Return rows of amount, decay, and the size of the map that the fog is cut from."""
    return _row(*((*parameters, size) for parameters in severities))


def _row(*severities: float | Parameters) -> Row:
    one, two, three, four, five = (s if isinstance(s, tuple) else (s,) for s in severities)
    return one, two, three, four, five


_ELASTIC = (
    *((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02)),
    (0.12, 0.01, 0.02),
)
_PX224 = {
    "gaussian_noise": _row(0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": _row(60, 25, 12, 5, 3),
    "impulse_noise": _row(0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": _row((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": _row((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": _row((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": _row((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": _row(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": _row((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    "fog": _fog(256, (1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": _row(0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": _row(0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": _elastic(244, *_ELASTIC),
    "pixelate": _row(0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": _row(25, 18, 15, 10, 7),
    "speckle_noise": _row(0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": _row(1, 2, 3, 4, 6),
    "spatter": _row(
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "saturate": _row((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}

_PX299 = _PX224 | {
    "gaussian_noise": _row(0.09, 0.13, 0.19, 0.27, 0.40),
    "shot_noise": _row(50, 20, 10, 5, 3),
    "impulse_noise": _row(0.04, 0.07, 0.10, 0.18, 0.28),
    "defocus_blur": _row((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
    "glass_blur": _row((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
    "motion_blur": _row((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
    "fog": _fog(512, (1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
    "elastic_transform": _elastic(360, *_ELASTIC),
    "pixelate": _row(0.5, 0.4, 0.3, 0.25, 0.2),
    "jpeg_compression": _row(23, 16, 13, 8, 5),
    "speckle_noise": _row(0.16, 0.21, 0.36, 0.46, 0.61),
    "gaussian_blur": _row(1.5, 2.5, 3.5, 4.5, 6.5),
    "spatter": _row(
        (0.65, 0.3, 4, 0.69, 0.9, 0),
        (0.65, 0.3, 3.5, 0.68, 0.9, 0),
        (0.65, 0.3, 3, 0.68, 0.8, 0),
        (0.65, 0.3, 1.2, 0.65, 1.8, 1),
        (0.67, 0.4, 1.2, 0.65, 1.8, 1),
    ),
}

_PX32 = {
    "gaussian_noise": _row(0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": _row(500, 250, 100, 75, 50),
    "impulse_noise": _row(0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": _row((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": _row((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": _row((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": _row((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "snow": _row(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": _row(
        (1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)
    ),
    "fog": _fog(32, (0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": _row(0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": _row(0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": _elastic(
        32,
        *((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05)),
        (0.1, 0.03, 0.03),
    ),
    "pixelate": _row(0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": _row(80, 65, 58, 50, 40),
    "speckle_noise": _row(0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": _row(0.4, 0.6, 0.7, 0.8, 1),
    "spatter": _row(
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "saturate": _row((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}

_PX64 = {
    "gaussian_noise": _row(0.04, 0.08, 0.12, 0.15, 0.18),
    "shot_noise": _row(250, 100, 50, 30, 15),
    "impulse_noise": _row(0.01, 0.02, 0.05, 0.08, 0.14),
    "defocus_blur": _row((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "glass_blur": _row((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "motion_blur": _row((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": _PX32["zoom_blur"],
    "snow": _row(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "frost": _row(
        (1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)
    ),
    "fog": _fog(64, (0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "brightness": _PX224["brightness"],
    "contrast": _PX224["contrast"],
    "elastic_transform": _elastic(
        64,
        *((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03)),
        (0.16, 0.03, 0.02),
    ),
    "pixelate": _row(0.9, 0.8, 0.7, 0.6, 0.5),
    "jpeg_compression": _row(65, 58, 50, 40, 25),
    "speckle_noise": _row(0.15, 0.2, 0.25, 0.3, 0.35),
    "gaussian_blur": _row(0.5, 0.75, 1, 1.25, 1.5),
    "spatter": _row(
        (0.62, 0.1, 0.7, 0.7, 0.6, 0),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0),
        (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    "saturate": _row((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
}

TABLES: dict[int, dict[str, Row]] = {32: _PX32, 64: _PX64, 224: _PX224, 299: _PX299}


def published_size(size: int) -> int:
    """Return the published size that is nearest to `size` pixels, within a factor of two.

    Raises:
        UsageError: no severities were published for such a size.
    """
    nearest = min(TABLES, key=lambda known: abs(math.log(known / size)))
    if not 0.5 < nearest / size < 2:
        published = ", ".join(f"{known} px" for known in TABLES)
        raise UsageError(
            f"no severities were published for {size}-px images or similar sizes; "
            f"published are {published}"
        )
    return nearest


def parameters(corruption: str, severity: int, size: int) -> Parameters:
    """Return the published parameters of a corruption at a severity, for images of `size` pixels.

    Sizes between the published ones have the parameters of the nearest. The fog's map and the
    photographs of frost are enlarged if they would be smaller than the image.

    Raises:
        UsageError: no severities were published for such a size, or the severity is not 1 to 5.
        UnknownName: there is no such corruption.
    """
    table = TABLES[published_size(size)]
    check_severity(severity)
    if corruption not in table:
        raise UnknownName("corruption", corruption, table)
    *rest, last = table[corruption][severity - 1]
    if corruption == "fog":
        last = max(last, 2 ** math.ceil(math.log2(size)))
    elif corruption == "frost":
        last = max(last, size / 300)
    return *rest, last


def check_severity(severity: int) -> None:
    """Check that a severity exists.

    Raises:
        UsageError: it is not 1 to 5.
    """
    if severity not in SEVERITIES:
        raise UsageError(f"severity {severity} does not exist; choose from 1 to 5")
