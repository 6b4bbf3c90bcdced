"""What each severity means: the published parameters of every corruption, by image size in pixels.

224 and 299: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations" (ICLR 2019), the generation scripts of ImageNet-C. 32: those of
CIFAR-10-C. A row holds severities 1 to 5; a tuple is passed as separate arguments. The order is the
published one, hold-out corruptions last.
"""

from __future__ import annotations

from robustbench_aa.errors import UnknownName, UsageError

SEVERITIES = (1, 2, 3, 4, 5)

Parameters = tuple[float, ...]
Row = tuple[Parameters, Parameters, Parameters, Parameters, Parameters]


def _row(*severities: float | Parameters) -> Row:
    one, two, three, four, five = (s if isinstance(s, tuple) else (s,) for s in severities)
    return one, two, three, four, five


_PX224 = {
    "gaussian_noise": _row(0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": _row(60, 25, 12, 5, 3),
    "impulse_noise": _row(0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": _row((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "brightness": _row(0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": _row(0.4, 0.3, 0.2, 0.1, 0.05),
    "pixelate": _row(0.6, 0.5, 0.4, 0.3, 0.25),
    "speckle_noise": _row(0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": _row(1, 2, 3, 4, 6),
    "saturate": _row((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}

_PX299 = _PX224 | {
    "gaussian_noise": _row(0.09, 0.13, 0.19, 0.27, 0.40),
    "shot_noise": _row(50, 20, 10, 5, 3),
    "impulse_noise": _row(0.04, 0.07, 0.10, 0.18, 0.28),
    "defocus_blur": _row((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
    "pixelate": _row(0.5, 0.4, 0.3, 0.25, 0.2),
    "speckle_noise": _row(0.16, 0.21, 0.36, 0.46, 0.61),
    "gaussian_blur": _row(1.5, 2.5, 3.5, 4.5, 6.5),
}

_PX32 = {
    "gaussian_noise": _row(0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": _row(500, 250, 100, 75, 50),
    "impulse_noise": _row(0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": _row((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "brightness": _row(0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": _row(0.75, 0.5, 0.4, 0.3, 0.15),
    "pixelate": _row(0.95, 0.9, 0.85, 0.75, 0.65),
    "speckle_noise": _row(0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": _row(0.4, 0.6, 0.7, 0.8, 1),
    "saturate": _row((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}

TABLES: dict[int, dict[str, Row]] = {32: _PX32, 224: _PX224, 299: _PX299}


def parameters(corruption: str, severity: int, size: int) -> Parameters:
    """The published parameters of a corruption at a severity, for images of `size` pixels.

    Raises:
        UsageError: no table was published for this size, or the severity is not 1 to 5.
        UnknownName: the table has no such corruption.
    """
    if size not in TABLES:
        published = ", ".join(f"{known} px" for known in TABLES)
        raise UsageError(f"no severities were published for {size}-px images; use {published}")
    check_severity(severity)
    if corruption not in TABLES[size]:
        raise UnknownName("corruption", corruption, TABLES[size])
    return TABLES[size][corruption][severity - 1]


def check_severity(severity: int) -> None:
    """Refuses a severity that no corruption has.

    Raises:
        UsageError: it is not 1 to 5.
    """
    if severity not in SEVERITIES:
        raise UsageError(f"severity {severity} does not exist; choose from 1 to 5")
