"""Runs that were made apart, as one run without merging them. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from robustbench_aa.errors import UsageError
from robustbench_aa.report import Tables
from robustbench_aa.run import Run
from robustbench_aa.store.joined import JoinedStore
from robustbench_aa.store.manifest import RUN
from robustbench_aa.store.storage import exists, open_directory
from robustbench_aa.store.thumbnails import Samples, read_samples


class JointRun(Run):
    """Runs that were made apart, in one report, without merging them.

    Models keep their names, except for different models of the same name; see `JoinedStore`.
    Feature maps stay in the reports of the single runs.

    Args:
        directories: Directories of the runs, or their URLs.
        report_folder: Folder for the report.

    Raises:
        RunError: A directory holds no run, or the runs have different data, distortions or
            settings.
        UsageError: The folder is or holds a run, or a run is named twice.
    """

    def __init__(
        self,
        directories: Sequence[str | os.PathLike[str]],
        report_folder: str | os.PathLike[str],
    ) -> None:
        folder = open_directory(report_folder)
        if exists(folder / RUN):
            raise UsageError(f"{folder} holds a run; choose another --output-dir for the report")
        if run := next(iter(folder.glob(f"*/{RUN}")), None):
            raise UsageError(
                f"{folder} holds the run {run.parent.name}; choose another --output-dir for the "
                "report, which replaces the folder"
            )
        self._joined = JoinedStore.of_runs(directories)
        self._read_from(self._joined, folder)

    def write(self, tables: Tables, latex: bool = False, figures: Sequence[str] = ()) -> list[Path]:
        """Write the files of `report` from tables that have been computed already."""
        stores = self._joined.stores
        samples: Samples = {}
        for store in reversed(stores):
            samples |= read_samples(store)
        title = " and ".join(store.directory.name for store in stores)
        return self._write(tables, title, samples, None, latex, figures)
