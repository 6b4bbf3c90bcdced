"""Corruptions that are defined outside this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from robustbench_aa.distortions.corruptions.corruption import CORRUPTIONS, Corruption
from robustbench_aa.distortions.severities import SEVERITIES, TABLES, Row
from robustbench_aa.errors import UsageError
from robustbench_aa.support.checks import whole_number
from robustbench_aa.support.code import source_of

Function = TypeVar("Function", bound=Callable[..., Tensor])
Values = Sequence[float | Sequence[float]]
"""The parameters of severities 1 to 5: a number or several for each."""
Registered = tuple[Corruption, dict[int, Row]]
"""A corruption, and its parameters by image size."""
GROUP = "other"


def register_corruption(
    severities: Values | Mapping[int, Values], *, version: int = 1
) -> Callable[[Function], Function]:
    """Return a decorator that registers a function as the corruption with the function's name.

    The corruption is then part of every data set whose images are corrupted as they are read, of
    `corrupt` and of previews. No published mean includes it: it counts in `mean_error_other`. The
    file that defines the function is part of a run's identity, so a run is not continued with
    another definition.

    >>> import robustbench_aa as rb
    >>> import torch
    >>> @rb.register_corruption(severities=[0.9, 0.8, 0.7, 0.6, 0.5])
    ... def dimmed(images, draws, factor):
    ...     return images * factor
    >>> grey = torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)
    >>> rb.corrupt(grey, "dimmed", severity=5).unique().tolist()
    [100]

    Args:
        severities: The parameters of severities 1 to 5: a number or a tuple of numbers for each.
            A mapping from 32, 64, 224 or 299 (image sizes in pixels) to such lists gives each size
            its own; other sizes then do not have the corruption.
        version: Version of the definition, which is part of a run's identity.

    The function takes images [B, 3, H, W] float32 in [0, 1], a source of random numbers, and the
    parameters of the severity. It returns images of the same shape; values outside [0, 1] are
    clamped. `draws.uniform(1, H, W)` returns numbers [B, 1, H, W] in [0, 1), and `draws.normal`
    standard normal ones. They depend on seed, corruption and image alone.

    Raises:
        UsageError: There are not five severities, or the package has a corruption of this name.
    """
    rows = _rows(severities)
    version = whole_number("version", version, least=1)

    def register(function: Function) -> Function:
        name = function.__name__
        if not name.isidentifier():
            raise UsageError(f"a corruption is named by its function; give {name} a name by def")
        source = source_of(function)
        again((Corruption(name, GROUP, function, version=version, source=source), rows))
        return function

    return register


def registered() -> list[Registered]:
    """Return all corruptions that are defined outside this package."""
    return [
        (each, {size: table[name] for size, table in TABLES.items() if name in table})
        for name, each in CORRUPTIONS.items()
        if each.source
    ]


def again(*corruptions: Registered) -> None:
    """Register corruptions; they replace registered ones of the same name.

    Raises:
        UsageError: the package has a corruption of this name.
    """
    for corruption, rows in corruptions:
        name = corruption.name
        if name in CORRUPTIONS and not CORRUPTIONS[name].source:
            raise UsageError(f"the package has a corruption {name}; give yours another name")
        CORRUPTIONS.register(name, corruption, replace=True)
        for size, table in TABLES.items():
            table.pop(name, None)
            if size in rows:
                table[name] = rows[size]


def check_result(result: object, images: Tensor, name: str) -> None:
    """Check what a registered function made of images [B, 3, H, W].

    Args:
        name: what is registered, such as `corruption dimmed`.

    Raises:
        UsageError: it is no tensor of floats of the same shape, or not all are finite.
    """
    if not isinstance(result, Tensor) or result.shape != images.shape:
        found = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise UsageError(f"{name} returned {found} for images {tuple(images.shape)}")
    if not result.is_floating_point() or not torch.isfinite(result).all():
        raise UsageError(f"{name} returned values that are not finite floats")


def _rows(severities: Values | Mapping[int, Values]) -> dict[int, Row]:
    """Return the parameters of severities 1 to 5 by image size."""
    if not isinstance(severities, Mapping):
        return dict.fromkeys(TABLES, _row(severities))
    unknown = [size for size in severities if size not in TABLES]
    if unknown or not severities:
        raise UsageError(
            f"severities are given for {unknown or 'no size'}; the image sizes are "
            f"{', '.join(map(str, TABLES))}"
        )
    return {size: _row(values) for size, values in severities.items()}


def _row(values: Values) -> Row:
    try:
        one, two, three, four, five = (
            tuple(map(float, each)) if isinstance(each, Iterable) else (float(each),)
            for each in values
        )
    except (TypeError, ValueError):
        raise UsageError(
            f"severities are {values!r}; give a number, or a tuple of numbers, for each of "
            f"{len(SEVERITIES)} severities"
        ) from None
    return one, two, three, four, five
