"""Options, console and command line that the commands share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console


def options(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return several options as one decorator."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


running = options(
    click.option(
        *("--batch-size", "-b"),
        default=256,
        show_default=True,
        help="Frames a forward pass; halved where memory does not suffice.",
    ),
    click.option("--device", help="A torch device; a GPU if there is one by default."),
    click.option("--amp", is_flag=True, help="Mixed precision, which moves figures a little."),
    click.option("--amp-dtype", help="bfloat16, or float16; turns --amp on."),
    click.option("--channels-last", is_flag=True, help="Lay images out pixel by pixel."),
    click.option("--compile", "compiled", is_flag=True, help="Compile the models first."),
    click.option("--workers", "-j", type=int, help="Threads that decode; one a core by default."),
    click.option("--threads", type=int, help="CPU cores of a process; all, or one for each task."),
    click.option("--engine", default="local", show_default=True, help="Or ray: several processes."),
    click.option("--ray-address", help="Of a running cluster; RAY_ADDRESS, else this machine."),
    click.option("--profile", is_flag=True, help="Tell what the time went to."),
    click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
)


def command_line() -> str:
    """Return the command line as it was typed."""
    return shlex.join(["robustbench-aa", *sys.argv[1:]])


def console(stderr: bool = False) -> Console:
    """Return a console that prints names as they are and wraps lines only on a terminal."""
    from rich.console import Console

    # names are names: [brackets] are no markup in them, nor :colons: pictures
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 240  # a file has no edge to wrap at
    return console
