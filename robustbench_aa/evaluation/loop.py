"""The evaluation loop: shards → distortions → batches → models → predictions."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
import torch

from robustbench_aa.datasets import Dataset
from robustbench_aa.datasets.content import Digest
from robustbench_aa.errors import DatasetError, RobustbenchError, RunError, cause
from robustbench_aa.evaluation.inference import Predictor, halved, is_out_of_memory
from robustbench_aa.evaluation.prefetch import deferred, prefetched
from robustbench_aa.store.predictions import RANKING, Content
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import each
from robustbench_aa.support.stage_times import stage
from robustbench_aa.types import Batch, Failure, Shard

if TYPE_CHECKING:
    from robustbench_aa.evaluation.session import Session

NOT_PREFETCHED = {"cpu"}
"""Kinds of devices beside which nothing is prefetched: a CPU has no cores to spare."""
SELF_EXPLANATORY = (RuntimeError, ValueError, torch.OutOfMemoryError)
"""Kinds of errors whose message is clear without the name of the kind; torch raises them."""


@dataclass(frozen=True)
class Work:
    """One cell and shard, and the models whose predictions on it are missing."""

    cell: Cell
    shard: Shard
    pending: tuple[str, ...]

    @property
    def frames(self) -> int:
        """Number of predictions that each model will make."""
        return (self.shard.stop - self.shard.start) * self.cell.frames

    @property
    def passes(self) -> int:
        """Number of frames that will go through all models together."""
        return self.frames * len(self.pending)


def plan(
    models: Iterable[str], cells: Sequence[Cell], store: Store, dataset: Dataset | None = None
) -> list[Work]:
    """Return the work that is left on one data set, ordered by shard so that each is decoded once.

    Args:
        models: Names of the models.
        cells: Cells of the data set.
        store: Prediction files of the run.
        dataset: The data set, to check that its images have not changed since their predictions
            were made. None skips the check.

    Raises:
        RunError: Images have changed since their predictions were made.
    """
    models = tuple(models)
    shards = store.shards(cells[0].dataset)
    everything = [Work(cell, shard, models) for shard in shards for cell in cells]
    work = each(store.directory, lambda item: _missing(item, store, dataset), everything)
    return [item for item in work if item.pending]


def unfinished(work: Sequence[Work], store: Store) -> list[Work]:
    """Return what an interrupted evaluation of this work has not committed.

    It commits in order, so nothing is read beyond the first work that lacks a prediction file.
    """
    for place, item in enumerate(work):
        rest = _missing(item, store)
        if rest.pending:
            return [rest, *work[place + 1 :]]
    return []


def _missing(item: Work, store: Store, dataset: Dataset | None = None) -> Work:
    """Return the work without the models whose predictions are in the store."""
    found = {name: store.content(name, item.cell, item.shard) for name in item.pending}
    if dataset is not None and any(content and content.stamp_sha256 for content in found.values()):
        place = item.cell.distortion, item.shard
        stamp, sources = dataset.stamp(*place), ""
        for name, content in found.items():
            if content is None or content.stamp_sha256 in ("", stamp):
                continue
            # reading the content is slow, so it is compared only where sizes or times have changed
            sources = sources or dataset.sources(*place)
            if sources != content.sources_sha256:
                raise RunError(
                    f"the pictures of {item.cell}, images {item.shard}, have changed since "
                    f"{store.path(name, item.cell, item.shard)} was made from them; choose another "
                    "--output-dir, or delete that file and others of its age"
                )
    return replace(item, pending=tuple(name for name in found if found[name] is None))


def evaluate(session: Session, predictors: Mapping[str, Predictor]) -> list[Failure]:
    """Do a session's work and commit the predictions shard by shard.

    A shard is written while the next one is evaluated. Beside a GPU, each batch is read and
    distorted while the one before it goes through the models.

    Args:
        session: Its batch size limits how many frames are read at once; predictions do not depend
            on it. Frames are distorted on its device.
        predictors: The models on the session's device, by name.

    Returns:
        What could not be evaluated. After the failure of a model the other models are still
        evaluated, and after the failure of a cell's images the other cells.
    """
    failures = []
    batches = _read(session)
    device = torch.device(session.device)
    if device.type not in NOT_PREFETCHED:
        batches = prefetched(batches, device)
    with closing(batches), deferred() as later:
        for (item, stamp), group in groupby(batches, key=itemgetter(0)):
            rows = {
                name: session.store.empty_columns(name, item.cell, item.shard)
                for name in item.pending
            }
            content = Digest()
            failures += _fill(
                rows, item, (batch for _, batch in group), predictors, content, session
            )
            found = Content(content.sources, content.frames, stamp)
            later(_commit, session.store, item, rows, found)
    return failures


def _read(session: Session) -> Generator[tuple[tuple[Work, str], Batch | Exception]]:
    """Yield every batch with its work and the stamp of its files, or an error in its place."""
    device, batch_size = torch.device(session.device), session.inference.batch_size
    for item in session.work:
        dataset, distortion = session.datasets[item.cell.dataset], item.cell.distortion
        start, stop = item.shard
        stamp = ""
        while start < stop:
            try:
                # taken before the files are read: one that changes meanwhile is then read again
                stamp = stamp or dataset.stamp(distortion, item.shard)
                rest = Shard(start, stop)
                for batch in dataset.read(distortion, rest, batch_size, device):
                    start += len(batch.index)
                    yield (item, stamp), batch
                if start < stop:
                    missing = f"{stop - start} of {item.shard.stop - item.shard.start} images"
                    raise DatasetError(f"{item.cell.dataset} did not give {missing}")
            except Exception as error:  # a data set may be the user's code
                if is_out_of_memory(error) and batch_size > 1:
                    batch_size = halved(batch_size, str(item.cell))
                else:
                    yield (item, stamp), error
                    break


def _fill(
    rows: dict[str, dict[str, np.ndarray]],
    item: Work,
    batches: Iterable[Batch | Exception],
    predictors: Mapping[str, Predictor],
    content: Digest,
    session: Session,
) -> list[Failure]:
    """Fill the prediction columns of each model, and remove those of models that fail."""
    failures = []

    def fail(name: str, error: Exception) -> None:
        place = item.cell.dataset, item.cell.distortion, item.shard
        failures.append(Failure(name, *place, _message(error)))
        del rows[name]

    done = 0
    for batch in batches:
        if isinstance(batch, Exception):
            for name in list(rows):
                fail(name, batch)
            break
        content.add_batch(batch)
        frames = batch.frames.shape[0] * batch.frames.shape[1]
        for name in list(rows):
            try:
                with stage("forward"):
                    prediction = predictors[name].predict(batch, RANKING in rows[name])
            except Exception as error:  # a model may be the user's code
                fail(name, error)
            else:
                for column, values in rows[name].items():
                    values[done : done + frames] = prediction[column]
            session.progress(item.cell, frames)
        done += frames
    return failures


def _message(error: Exception) -> str:
    """Return the message of an error, with the name of its kind where the message needs it."""
    if isinstance(error, RobustbenchError) or type(error) in SELF_EXPLANATORY:
        return cause(error)
    kind = type(error).__name__
    return kind if cause(error) == kind else f"{kind}: {cause(error)}"


def _commit(
    store: Store, item: Work, rows: Mapping[str, Mapping[str, np.ndarray]], content: Content
) -> None:
    with stage("commit"):
        for name, columns in rows.items():
            store.commit(name, item.cell, item.shard, columns, content)
