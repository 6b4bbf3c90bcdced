"""Any model in its anti-aliased form: `timm:resnet18+lpf4`, `digits:resnet@baseline+aps-circular`.

The weights are those of the plain model, so it is less accurate until it is fine-tuned.
"""

from __future__ import annotations

import dataclasses
import re

from robustbench_aa.classifier import Classifier
from robustbench_aa.support.training_seeds import training_seed, with_seed

_SHORT = re.compile(r"(?P<plain>.+)\+(?P<short>[^+/.:@]+)")
"""A specification ends in `+` and the short form of a conversion, which is never part of a path."""


def split(specification: str) -> tuple[str, str | None]:
    """Split a specification into the plain model's, and the short form of its conversion or None.

    >>> split("digits:resnet@baseline+lpf3-seed1")
    ('digits:resnet@baseline-seed1', 'lpf3')
    >>> split("torchvision:resnet50")
    ('torchvision:resnet50', None)
    """
    model, seed = training_seed(specification)
    match = _SHORT.fullmatch(model)
    if match is None:
        return specification, None
    return with_seed(match["plain"], seed), match["short"]


def check_short(short: str) -> None:
    """Check that a conversion exists, before its model is loaded.

    Raises:
        UnknownName: there is no such conversion.
    """
    from robustbench_aa.antialiasing import Conversion

    Conversion.parse(short)


def converted(plain: Classifier, short: str) -> Classifier:
    """Return the anti-aliased form of a classifier.

    Args:
        plain: the classifier.
        short: the short form of a conversion, such as `lpf4`.

    Raises:
        UnknownName: there is no such conversion.
        ConversionError: the network cannot be converted.
    """
    from robustbench_aa.antialiasing import Conversion, antialias

    return antialias(plain, **dataclasses.asdict(Conversion.parse(short)))
