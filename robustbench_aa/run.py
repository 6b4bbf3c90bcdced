"""A run: a directory of predictions, and what can be asked of it. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_aa.report import Tables, make_tables, write_report
from robustbench_aa.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_aa.evaluation import Failure


class Run:
    """A directory of predictions, and the reports that can be made of it.

    Args:
        directory: of the run.

    Attributes:
        failures: what could not be evaluated when the run was last carried out.

    Raises:
        RunError: there is no run in the directory.
    """

    def __init__(self, directory: str | os.PathLike[str], failures: Sequence[Failure] = ()) -> None:
        self.directory = Path(directory)
        self.failures = list(failures)
        self._store = Store.of_run(self.directory)

    def tables(self, baseline: str | None = None) -> Tables:
        """All tables, computed from the predictions.

        Args:
            baseline: a model of the run for the normalised figures; None for the suite's.

        Raises:
            UnknownName: the run has no such model.
        """
        return make_tables(self._store, baseline)

    def leaderboard(self, baseline: str | None = None) -> pd.DataFrame:
        """A row a model, the best first; the columns of `leaderboard.csv`."""
        return self.tables(baseline).leaderboard

    def report(self, baseline: str | None = None) -> list[Path]:
        """Writes tables and figures into `report/` and returns their paths."""
        return write_report(self.tables(baseline), self.directory / "report")
