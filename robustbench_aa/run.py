"""A run: a directory of predictions, with its tables and reports. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.gate import read_rules
from robustbench_aa.metrics.comparison import compare
from robustbench_aa.metrics.estimates import Sample
from robustbench_aa.metrics.gate import Gate, decide
from robustbench_aa.metrics.per_image import Model, OutcomesByKind, read_models
from robustbench_aa.metrics.seed_intervals import with_seed_intervals
from robustbench_aa.report import Tables, make_tables, write_report
from robustbench_aa.report.columns import results_first
from robustbench_aa.report.provenance import limit_notes
from robustbench_aa.store.feature_maps import read_feature_maps
from robustbench_aa.store.kinds import kinds_of
from robustbench_aa.store.merge import merge
from robustbench_aa.store.shards import Store
from robustbench_aa.store.storage import on_disk, open_directory
from robustbench_aa.store.thumbnails import Samples, read_samples

if TYPE_CHECKING:
    from robustbench_aa.classifier import Classifier
    from robustbench_aa.types import Failure


class Run:
    """A finished run: a directory of predictions.

    >>> import tempfile
    >>> import robustbench_aa as rb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = rb.benchmark(["digits:resnet@lpf3-seed0"], ["digits"], folder, limit=5)
    ...     rb.Run(folder).table("intervals")["metric"].tolist()
    ['clean_error']

    Args:
        directory: Directory of the run, or its URL in an object storage.
        failures: What could not be evaluated.

    Attributes:
        directory: The directory as a path.
        failures: What could not be evaluated in the session that returned this run.
        report_folder: The folder that `report` writes.

    Raises:
        RunError: There is no run in the directory.
        UsageError: The object storage cannot be reached.
    """

    def __init__(self, directory: str | os.PathLike[str], failures: Sequence[Failure] = ()) -> None:
        path = open_directory(directory)
        self._read_from(Store.of_run(path), path / "report", failures)

    def _read_from(self, store: Store, report: Path, failures: Sequence[Failure] = ()) -> None:
        self.directory = store.directory
        self.failures = list(failures)
        self.report_folder = report
        self._store = store
        self._tables: dict[tuple[str | None, bool], Tables] = {}
        self._leaderboards: dict[str | None, pd.DataFrame] = {}

    @property
    def profile(self) -> dict[str, float]:
        """Seconds by stage of the latest session that was profiled; empty if there is none."""
        return self._store.manifest.profile

    def limit_notes(self) -> list[str]:
        """Return a note for a run of a limited number of images."""
        return limit_notes(self._store)

    def tables(self, baseline: str | None = None, with_published: bool = False) -> Tables:
        """Return the tables; each is computed from the predictions once.

        Args:
            baseline: The model that normalised metrics are relative to: a model of the run, or the
                published `alexnet` or `resnet50` on ImageNet-C and ImageNet-P. None means the
                suite's baseline.
            with_published: Whether to append comparable published results to the leaderboard.

        Raises:
            UnknownName: The run has no such model.
            UsageError: The published results are not comparable with the run.
        """
        key = baseline, with_published
        if key not in self._tables:
            self._tables[key] = make_tables(self._store, self._models, *key)
        return self._tables[key]

    @cached_property
    def _models(self) -> dict[str, Model]:
        """The per-image outcomes of the run's models."""
        return read_models(self._store)

    def leaderboard(self, baseline: str | None = None) -> pd.DataFrame:
        """Return the leaderboard: a row for each model, the best first.

        The metrics come first, beginning with the one that ranks the models; counts come last. The
        values are those of `leaderboard.csv`.

        Args:
            baseline: As in `tables`.
        """
        if baseline not in self._leaderboards:
            self._leaderboards[baseline] = results_first(self.tables(baseline).leaderboard)
        return self._leaderboards[baseline]

    def table(self, name: str, baseline: str | None = None) -> pd.DataFrame:
        """Return a table by the name of its CSV file, such as `corruptions`.

        Args:
            name: Name of the file without `.csv`; an attribute of `Tables`.
            baseline: As in `tables`.

        Returns:
            The table. It has no rows if the run measured nothing of the kind.

        Raises:
            UnknownName: There is no such table, or the run has no such baseline.
        """
        named = [each.name for each in fields(Tables) if each.type in ("pd.DataFrame", "Later")]
        if name not in named:
            raise UnknownName("table", name, named)
        table: pd.DataFrame = getattr(self.tables(baseline), name)
        return table

    def compare(self, a: str | Classifier, b: str | Classifier) -> pd.DataFrame:
        """Return the paired difference a − b in every metric, with its interval and p-value.

        `low` and `high` are about these networks on other images. `seeds_low` and `seeds_high` are
        also about networks of other training seeds; they are NaN for fewer than three of them.

        Args:
            a: A model of the run, or its name.
            b: The model that it is compared with.

        Raises:
            UnknownName: The run has no such model.
        """
        one, other = self._model(a), self._model(b)
        return with_seed_intervals(compare(one.mean, other.mean), one, other)

    def gate(
        self,
        model: str | Classifier,
        against: str | Classifier | None = None,
        old_run: Run | None = None,
        **limits: Mapping[str, float],
    ) -> Gate:
        """Decide whether a new model is robust enough to replace an old one.

        >>> import tempfile
        >>> import robustbench_aa as rb
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = rb.benchmark(["digits:resnet@lpf3-seed0"], ["digits"], folder, limit=200)
        ...     run.gate("digits:resnet@lpf3-seed0", max={"clean_error": 0.1}).verdict
        'pass'

        Args:
            model: The new model, or its name.
            against: The old model, or its name. Rules about one model need none.
            old_run: The run of the old model, if it is another one with the same data.
            limits: Rules by the name of their kind, each a mapping from metrics to limits:
                `max_rise` and `max_fall` limit the difference from the old model, `min` and `max`
                the value of the new one.

        Returns:
            The verdict on each rule and on all of them.

        Raises:
            UnknownName: A run has no such model, or there is no such metric or kind of rule.
            UsageError: There are no rules, a rule needs an old model, the models lack a metric or
                some of its cells, or the runs have different data.
        """
        rules = read_rules(limits)
        paired = any(rule.how.paired for rule in rules)
        if not rules:
            raise UsageError("a gate without rules decides nothing; add one, such as --max-rise")
        if paired == (against is None):
            fault = "needs an old model; name it" if paired else "has no effect on these rules"
            raise UsageError(f"--against {fault}")
        if old_run is not None and against is None:
            raise UsageError("the run of an old model has no effect on these rules; leave it out")
        new, old = self._model(model).mean, None
        if against is not None:
            new, old = self._on_same_data(new, old_run or self, against)
        results = decide(rules, Sample(new), None if old is None else Sample(old))
        names = [one if isinstance(one, str | None) else one.name for one in (model, against)]
        return Gate(str(names[0]), names[1], results)

    def _model(self, model: str | Classifier) -> Model:
        """Return a model of the run with its outcomes."""
        name = model if isinstance(model, str) else model.name
        if name not in self._models:
            raise UnknownName("model of the run", name, self._models)
        return self._models[name]

    def _on_same_data(
        self, new: OutcomesByKind, old_run: Run, against: str | Classifier
    ) -> tuple[OutcomesByKind, OutcomesByKind]:
        """Return the outcomes of a model, and those of one of another run on data of both."""
        old, stores = old_run._model(against).mean, (self._store, old_run._store)
        here, there = (kinds_of(store.manifest) for store in stores)
        shared = [kind for kind in here if here[kind] == there.get(kind)]
        reason = stores[0].manifest.other_data(stores[1].manifest)
        if not reason and not shared:
            reason = f"has other data sets than {self.directory}"
        for kind in shared:
            if not reason and new[kind].subset != old[kind].subset:
                reason = f"was asked for other distortions of {here[kind]}"
        if reason:
            raise UsageError(f"{old_run.directory} {reason}; evaluate both models on the same data")
        # mean_error_unseen is then over what no model of either run was trained on
        seen = {kind: {*new[kind].trained_on, *old[kind].trained_on} for kind in shared}
        ours, theirs = (
            {kind: replace(outcomes[kind], trained_on=seen[kind]) for kind in shared}
            for outcomes in (new, old)
        )
        return {**new, **ours}, theirs

    def report(
        self,
        baseline: str | None = None,
        with_published: bool = False,
        latex: bool = False,
        figures: Sequence[str] = (),
    ) -> list[Path]:
        """Write tables, plots and the page into `report/` and return their paths.

        Args:
            baseline: As in `tables`.
            with_published: As in `tables`.
            latex: Whether to write `leaderboard.tex` as well.
            figures: Formats of the plots besides PNG and SVG, such as `pdf`.
        """
        return self.write(self.tables(baseline, with_published), latex, figures)

    def write(self, tables: Tables, latex: bool = False, figures: Sequence[str] = ()) -> list[Path]:
        """Write the files of `report` from tables that have been computed already."""
        title = self._store.manifest.suite or self.directory.name
        samples, maps = read_samples(self._store), read_feature_maps(self.directory)
        return self._write(tables, title, samples, maps, latex, figures)

    def _write(
        self,
        tables: Tables,
        title: str,
        samples: Samples,
        maps: pd.DataFrame | None,
        latex: bool,
        figures: Sequence[str],
    ) -> list[Path]:
        with on_disk(self.report_folder) as here:
            written = write_report(tables, here, title, samples, maps, latex, figures)
        return [self.report_folder / path.relative_to(here) for path in written]


def merge_runs(
    runs: Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str],
    command: str | None = None,
) -> Run:
    """Merge runs into one, with all their models, data sets and predictions.

    What several runs have must be equal in all of them. Nothing is written before every run has
    been read and checked. After an interruption, the same call continues.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import robustbench_aa as rb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     parts = [Path(folder, filter) for filter in ("lpf3-seed0", "lpf5-seed0")]
    ...     for part in parts:
    ...         run = rb.benchmark([f"digits:resnet@{part.name}"], ["digits"], part, limit=5)
    ...     len(rb.merge_runs(parts, Path(folder, "both")).leaderboard())
    2

    Args:
        runs: Directories of the runs; they stay unchanged.
        output_dir: A new or empty directory, or a run, to which the others are added.
        command: The command line to record in `run.json`.

    Raises:
        RunError: A directory holds no run, two runs contradict each other, a prediction file is
            damaged, or the output directory cannot be used.
        SuiteError: Together the runs have two data sets of one kind.
    """
    return Run(merge(runs, output_dir, command))
