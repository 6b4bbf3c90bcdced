"""`python -m robustbench_aa`."""

from robustbench_aa.cli import main

main()
