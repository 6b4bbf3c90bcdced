"""The command line: parses, calls, prints. Each command imports what it needs when it runs."""

from __future__ import annotations

import logging
import signal
import sys

import click

from robustbench_aa.cli import data, doctor, models, report, run
from robustbench_aa.errors import RobustbenchError, cause


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="robustbench-aa")
def commands() -> None:
    """Measures how robust image classifiers are, and how anti-aliasing changes that."""


for command in (
    *(run.benchmark, run.evaluate),
    *(report.report, report.compare, report.merge),
    *(data.datasets, data.verify, data.preview),
    *(models.models, models.antialias, models.features),
    doctor.doctor,
):
    commands.add_command(command)


def main() -> None:
    """Runs the command line."""
    run_command(commands, "robustbench-aa")


def run_command(command: click.Command, prog_name: str | None = None) -> None:
    """Run a command; every error is one line on standard error, with its exit status.

    Of several signals in a row the first one counts: it interrupts, and the others are ignored
    while files are put in order.
    """
    received: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        if len(received) == 1:
            raise KeyboardInterrupt  # also for SIGTERM: Ray would change the status of an exit

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in the background of a shell
        signal.signal(signal.SIGINT, interrupt)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.addLevelName(logging.WARNING, "warning")
    try:
        status = command.main(prog_name=prog_name, standalone_mode=False)
    except RobustbenchError as error:
        _quit(str(error), error.exit_status)
    except click.ClickException as error:
        _quit(error.format_message(), error.exit_code)
    except OSError as error:
        _quit(str(error), 1)
    except (ImportError, MemoryError) as error:
        memory = "; is there too little memory (ulimit -v)?" if _is_short_of_memory(error) else ""
        _quit(f"{cause(error)}{memory}", 1)
    except (click.Abort, KeyboardInterrupt):
        first = received[0] if received else signal.SIGINT
        how = "terminated" if first == signal.SIGTERM else "interrupted"
        _quit(f"{how}; the same command resumes", 128 + first)
    except SystemExit as error:  # of a model's or a data set's code
        code = error.code if isinstance(error.code, int) and error.code else 1
        _quit(f"ended by SystemExit({error.code!r}), which a model or a data set raised", code)
    sys.exit(status if isinstance(status, int) else 0)


def _is_short_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "memory" in text or "map segment" in text


def _quit(message: str, status: int) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(status)
