"""Another name of `robustbench-aa download`: `python -m data_prep.download`."""

from robustbench_aa.cli.data import download as main
from robustbench_aa.cli.main import run_command

__all__ = ["main"]

if __name__ == "__main__":
    run_command(main)
