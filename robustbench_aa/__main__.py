"""Run the command line as `python -m robustbench_aa`."""

from robustbench_aa.cli.main import main

main()
