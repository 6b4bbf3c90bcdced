"""What the commands that train networks have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

to_option = click.option(
    "--to", type=click.Path(path_type=Path), help="Folder to write to; the package's by default."
)


def seed_option(known: Sequence[int]) -> Callable[[Command], Command]:
    """Return a decorator that adds the option to choose training seeds."""
    return click.option(
        *("--seed", "-s", "seeds"),
        multiple=True,
        type=click.Choice([str(seed) for seed in known]),
        help="Train only with this seed (repeatable).",
    )


def destination(path: Path, to: Path | None) -> Path:
    """Return where a file of the package is written: into the folder `to` if one is given."""
    return to / path.name if to else path
