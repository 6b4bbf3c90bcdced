"""Checks of what callers pass in Python, with errors that say what to pass instead."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from robustbench_aa.errors import UsageError

T = TypeVar("T")
NO_CLASSIFIER = (
    "load it by robustbench_aa.load_model, or wrap a module as robustbench_aa.Classifier"
)
LARGEST_STD = 10.0
"""The largest standard deviation of channels that is taken to be on the scale of 0 to 1."""


def check_type(noun: str, value: object, expected: type, advice: str) -> None:
    """Check the type of a value.

    Args:
        noun: what the value is, for messages.
        value: the value.
        expected: its type.
        advice: what to do otherwise.

    Raises:
        UsageError: the value has another type.
    """
    if not isinstance(value, expected):
        shown = f"of type {type(value).__name__}, not {expected.__name__}"
        raise UsageError(f"{noun} is {shown}; {advice}")


def whole_number(noun: str, value: Any, least: int | None = None) -> int:
    """Return a whole number as Python's `int`.

    Args:
        noun: what the number is, for messages.
        value: the number, of any type of whole numbers.
        least: the smallest possible number; None if there is none.

    Raises:
        UsageError: the value is no whole number, or is smaller than the smallest possible one.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or (least is not None and number < least):
        rest = "" if least is None else f" from {least}"
        raise UsageError(f"{noun} is {value!r}; give a whole number{rest}")
    return number


def as_list(noun: str, values: Sequence[T], *single: type) -> list[T]:
    """Return several values as a list.

    Args:
        noun: what the values are, for messages.
        values: a list, or another iterable.
        single: types of a single value that is iterable.

    Raises:
        UsageError: there is a single value.
    """
    if isinstance(values, (str, *single)) or not isinstance(values, Iterable):
        text = repr(values) if isinstance(values, str) else f"one {type(values).__name__}"
        raise UsageError(f"{noun} must be a list, not {text}; put it into [ ]")
    return [*values]


def number_per_channel(noun: str, value: object) -> tuple[float, float, float]:
    """Return a number for each of red, green and blue.

    Raises:
        UsageError: the value is not three finite numbers.
    """
    if isinstance(value, Iterable) and not isinstance(value, str):
        try:
            red, green, blue = (float(number) for number in value)
        except (TypeError, ValueError):
            pass
        else:
            if all(map(math.isfinite, (red, green, blue))):
                return red, green, blue
    example = (value,) * 3 if isinstance(value, (int, float)) else (0.5, 0.5, 0.5)
    raise UsageError(
        f"{noun} is {value!r}; give a number for each of red, green and blue, such as {example}"
    )


def check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    """Check a mean and a standard deviation of each channel.

    Raises:
        UsageError: they are on the scale of 0 to 255, or a standard deviation is not positive.
    """
    if max(mean) > 1 or max(std) > LARGEST_STD:
        raise UsageError(
            f"mean {mean} and std {std} are on the scale of 0 to 255; divide both by 255"
        )
    if min(std) <= 0:
        raise UsageError(f"std {std} is not positive; pixels are divided by it")
