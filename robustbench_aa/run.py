"""A run: a directory of predictions, and what can be asked of it. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_aa.errors import UnknownName
from robustbench_aa.metrics.comparison import compare
from robustbench_aa.metrics.per_image import Model, read_models
from robustbench_aa.report import Tables, make_tables, write_report
from robustbench_aa.store.shards import Store
from robustbench_aa.store.storage import on_disk, open_directory
from robustbench_aa.store.thumbnails import read_samples

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_aa.types import Classifier, Failure


class Run:
    """A directory of predictions, and the reports that can be made of it.

    Args:
        directory: of the run, or its URL in an object storage.

    Attributes:
        failures: what could not be evaluated when the run was last carried out.

    Raises:
        RunError: there is no run in the directory.
        UsageError: the object storage cannot be reached.
    """

    def __init__(self, directory: str | os.PathLike[str], failures: Sequence[Failure] = ()) -> None:
        self.directory = open_directory(directory)
        self.failures = list(failures)
        self._store = Store.of_run(self.directory)
        self._tables: dict[tuple[str | None, bool], Tables] = {}

    @property
    def profile(self) -> dict[str, float]:
        """Seconds by stage of the latest session that was profiled; empty if none was."""
        return self._store.manifest.profile

    def tables(self, baseline: str | None = None, with_published: bool = False) -> Tables:
        """Return all tables, computed from the predictions once.

        Args:
            baseline: a model of the run for the normalised figures, or `alexnet` or `resnet50`, as
                published, on ImageNet-C and ImageNet-P; None for the suite's.
            with_published: whether the leaderboard ends with what was published of others.

        Raises:
            UnknownName: the run has no such model.
            UsageError: the published figures are not of what the run measures.
        """
        asked = baseline, with_published
        if asked not in self._tables:
            self._tables[asked] = make_tables(self._store, self._models, *asked)
        return self._tables[asked]

    @cached_property
    def _models(self) -> dict[str, Model]:
        """The outcomes of the run's models, read once."""
        return read_models(self._store)

    def leaderboard(self, baseline: str | None = None) -> pd.DataFrame:
        """A row a model, the best first; the columns of `leaderboard.csv`."""
        return self.tables(baseline).leaderboard

    def compare(self, a: str | Classifier, b: str | Classifier) -> pd.DataFrame:
        """Return the paired difference a − b in every figure, with its interval and p-value.

        Args:
            a, b: models of the run, by name.

        Raises:
            UnknownName: the run has no such model.
        """
        models = self._models
        names = [of if isinstance(of, str) else of.name for of in (a, b)]
        for name in names:
            if name not in models:
                raise UnknownName("model of the run", name, models)
        return compare(*(models[name].mean for name in names))

    def report(
        self, baseline: str | None = None, with_published: bool = False, latex: bool = False
    ) -> list[Path]:
        """Writes tables, figures and the page into `report/` and returns their paths.

        Args:
            baseline, with_published: as in `tables`.
            latex: whether `leaderboard.tex` is written too.
        """
        return self.write(self.tables(baseline, with_published), latex)

    def write(self, tables: Tables, latex: bool = False) -> list[Path]:
        """Writes what `report` writes, of tables that are there already."""
        title = self._store.manifest.suite or self.directory.name
        samples = read_samples(self._store)
        folder = self.directory / "report"
        with on_disk(folder) as here:
            written = write_report(tables, here, title, samples, latex)
        return [folder / path.relative_to(here) for path in written]
