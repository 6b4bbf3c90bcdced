"""Another name of `robustbench-aa make imagenet-c`: `python -m data_prep.make_imagenet_c`."""

from robustbench_aa.cli.data import make_imagenet_c as main
from robustbench_aa.cli.main import run_command

__all__ = ["main"]

if __name__ == "__main__":
    run_command(main)
