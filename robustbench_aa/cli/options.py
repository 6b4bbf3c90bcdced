"""Options, console and command line that the commands share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import click

if TYPE_CHECKING:
    from rich.console import Console

UNBROKEN = 100_000
"""The width in characters of output that is not for a terminal."""
NO_OPTION = ("name", "gate")
"""The fields of a suite that are no options."""
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def combined(*options: Decorator) -> Decorator:
    """Return several options as one decorator."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


class SuiteCommand(click.Command):
    """A command with an option for each field of a suite.

    The options are made when the command is used, since the suite's checks are slow to import.
    """

    overriding: ClassVar[bool] = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters: first the options of a suite, then the others."""
        return [*_suite_options(self.overriding), *super().get_params(ctx)]


class OverridingCommand(SuiteCommand):
    """A command whose options replace values of a suite, so that none is required."""

    overriding = True


@cache
def _suite_options(overriding: bool) -> tuple[click.Option, ...]:
    """Return an option for each field of a suite, with its flags, type, default and description.

    Args:
        overriding: Whether the options change a suite, so that none is required or has a default.
    """
    return tuple(_each_suite_option(overriding))


def _each_suite_option(overriding: bool) -> Iterator[click.Option]:
    from robustbench_aa.suite import FIELDS
    from robustbench_aa.support.fields import is_list, value_type

    for name, field in FIELDS.items():
        if name in NO_OPTION or (overriding and field.is_required()):
            continue
        flag = "--" + name.replace("_", "-")
        if value_type(field) is bool:
            flag += "/--no-" + name.replace("_", "-")
        flags = [entry for entry in field.metadata if isinstance(entry, str)] or [flag]
        default = None if overriding or field.is_required() else field.default
        description = field.description or ""
        yield click.Option(
            [*flags, name],
            type=value_type(field),
            multiple=is_list(field),
            required=field.is_required(),
            default=default,
            show_default=default not in (None, ()),
            help=description[:-1] + " (repeatable)." if is_list(field) else description,
        )


running_options = combined(
    click.option(
        *("--batch-size", "-b"),
        default=256,
        show_default=True,
        help="Frames per forward pass; halved when memory runs out.",
    ),
    click.option("--device", help="Torch device; a GPU by default, if there is one."),
    click.option("--amp", is_flag=True, help="Use mixed precision; results change slightly."),
    click.option("--amp-dtype", help="Mixed-precision type, bfloat16 or float16; implies --amp."),
    click.option("--channels-last", is_flag=True, help="Use the channels-last memory format."),
    click.option("--compile", "compiled", is_flag=True, help="Compile the models first."),
    click.option("--workers", "-j", type=int, help="Decoding threads; one per core by default."),
    click.option(
        "--threads", type=int, help="CPU cores per process; by default all, or 1 with ray."
    ),
    click.option(
        "--engine",
        default="local",
        show_default=True,
        help="Engine that runs the evaluation: local or ray.",
    ),
    click.option(
        "--ray-address", help="Address of a Ray cluster; RAY_ADDRESS or this machine by default."
    ),
    click.option("--profile", is_flag=True, help="Print how the time was spent and what may help."),
    click.option("--dry-run", is_flag=True, help="Print what would be done and exit."),
)


def command_line() -> str:
    """Return the command line as it was typed."""
    return shlex.join(["robustbench-aa", *sys.argv[1:]])


def console(stderr: bool = False) -> Console:
    """Return a console that prints names as they are.

    Tables and sentences fit the width of a terminal. Where there is none, no line is broken, even
    if COLUMNS is set: programs that use readline set it for the processes that they start.
    """
    from rich.console import Console

    # names may contain [brackets] and :colons:, which are neither markup nor emoji
    display = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not display.is_terminal:
        display.width = UNBROKEN
    return display


def say(text: str) -> None:
    """Print a sentence, broken between words to the width of a terminal."""
    console().print(text)
