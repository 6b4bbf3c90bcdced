"""The command line: its commands, exit statuses and signals.

Each command imports what it needs when it runs, so that `--help` needs neither torch nor pandas.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

import click

from robustbench_aa.cli import data, doctor, gate, models, report, run, stability
from robustbench_aa.cli.usage import explain
from robustbench_aa.errors import RobustbenchError, cause
from robustbench_aa.support.scripts import import_script

BROKEN_PIPE = 128 + 13
"""The exit status of a program whose reader has ended, as a shell reports it for SIGPIPE."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="robustbench-aa")
@click.option(
    "--import",
    "scripts",
    metavar="FILE",
    multiple=True,
    help="Python file that defines corruptions, data sets or models to use (repeatable).",
)
def commands(scripts: tuple[str, ...]) -> None:
    """Measure the robustness of image classifiers and how anti-aliasing changes it."""
    for script in scripts:
        import_script(script)


for command in (
    *(run.benchmark, run.evaluate),
    *(report.report, report.compare, report.merge, report.export, gate.gate),
    *(data.datasets, data.download, data.make, data.verify, data.preview),
    *(models.models, models.antialias, models.features, stability.stability),
    doctor.doctor,
):
    commands.add_command(command)


def main() -> None:
    """Run the command line."""
    run_command(commands, "robustbench-aa")


def run_command(command: click.Command, prog_name: str | None = None) -> None:
    """Run a command and exit; an error is one line on standard error and an exit status.

    The first of several signals decides the status: it interrupts the command, and later ones are
    ignored while files are completed.
    """
    # read when torch is loaded: threads that wait for work by spinning take a busy machine's cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    received: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        if len(received) == 1:
            raise KeyboardInterrupt  # for SIGTERM too: Ray would change the status of SystemExit

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # a shell's background job ignores it
        signal.signal(signal.SIGINT, interrupt)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.addLevelName(logging.WARNING, "warning")
    try:
        status = command.main(prog_name=prog_name, standalone_mode=False)
    except RobustbenchError as error:
        _quit(str(error), error.exit_status)
    except click.ClickException as error:
        _quit(explain(error), error.exit_code)
    except OSError as error:
        where = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _quit(f"{where}; check the path, its permissions and the disk", 1)
    except (ImportError, MemoryError) as error:
        memory = "; is there too little memory (ulimit -v)?" if _is_short_of_memory(error) else ""
        _quit(f"{cause(error)}{memory}", 1)
    except (click.Abort, KeyboardInterrupt):
        first = received[0] if received else signal.SIGINT
        event = "terminated" if first == signal.SIGTERM else "interrupted"
        _quit(f"{event}; the same command resumes", 128 + first)
    except SystemExit as error:
        _quit_after(error)
    sys.exit(status if isinstance(status, int) else 0)


def _is_short_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "memory" in text or "map segment" in text


def _quit_after(error: SystemExit) -> None:
    """End after code of others has ended the program: click and rich, or a model or data set."""
    # `| head` has read enough: rich raises this from the error, click has replaced stdout by then
    by_click = type(sys.stdout).__module__.startswith("click.")
    if by_click or isinstance(error.__context__, BrokenPipeError):
        sys.exit(BROKEN_PIPE)
    code = error.code if isinstance(error.code, int) and error.code else 1
    _quit(f"a model or data set raised SystemExit({error.code!r})", code)


def _quit(message: str, status: int) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(status)
