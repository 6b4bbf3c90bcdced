"""Training seeds are a matter of names: classifiers `…-seed0` and `…-seed1` are one model."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TRAINING_SEED = re.compile(r"^(?P<model>.+)-seed(?P<seed>\d+)$")


def training_seed(name: str) -> tuple[str, int | None]:
    """Split a classifier's name into its model and its training seed.

    >>> training_seed("digits:resnet@lpf3-seed2")
    ('digits:resnet@lpf3', 2)
    >>> training_seed("mine")
    ('mine', None)
    """
    match = _TRAINING_SEED.match(name)
    return (match["model"], int(match["seed"])) if match else (name, None)


def with_seed(model: str, seed: int | None) -> str:
    """Return the name of a model's classifier with a training seed, as `training_seed` splits it.

    >>> with_seed("digits:resnet@lpf3", 2)
    'digits:resnet@lpf3-seed2'
    """
    return model if seed is None else f"{model}-seed{seed}"


def groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Group classifiers by model: the training seeds of a model, or a classifier by itself.

    >>> groups(["a-seed0", "b-seed0", "a-seed1"])
    {'a': ['a-seed0', 'a-seed1'], 'b-seed0': ['b-seed0']}
    """
    names = list(names)
    models = [training_seed(name)[0] for name in names]
    members: dict[str, list[str]] = {}
    for name, model in zip(names, models, strict=True):
        trained_again = models.count(model) > 1 and model not in names
        members.setdefault(model if trained_again else name, []).append(name)
    return members
