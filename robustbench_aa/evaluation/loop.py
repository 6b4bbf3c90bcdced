"""The evaluation loop: shards → distortions → batches → classifiers → predictions."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch

from robustbench_aa.datasets import Dataset
from robustbench_aa.datasets.content import Digest
from robustbench_aa.errors import DatasetError, RobustbenchError, RunError, cause
from robustbench_aa.evaluation.inference import Predictor, halved, is_out_of_memory
from robustbench_aa.evaluation.prefetch import ahead, behind
from robustbench_aa.store.predictions import RANKING, Content
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import each
from robustbench_aa.support.stage_times import stage
from robustbench_aa.types import Batch, Shard

IN_TURN = {"cpu"}
"""Kinds of devices that read and predict in turn: they have no cores to spare for both."""
SPEAKING = (RuntimeError, ValueError, torch.OutOfMemoryError)
"""Kinds of errors of torch, whose text is enough without the kind."""
Progress = Callable[[Cell, int], None]
"""Called after every forward pass with the cell it was for and the frames it covered."""


@dataclass(frozen=True)
class Work:
    """Predictions that are not in the store: one cell, one shard, the models that lack it."""

    cell: Cell
    shard: Shard
    pending: tuple[str, ...]

    @property
    def frames(self) -> int:
        """How many predictions each model is to make."""
        return (self.shard.stop - self.shard.start) * self.cell.frames

    @property
    def passes(self) -> int:
        """How many frames must go through the models in all."""
        return self.frames * len(self.pending)


@dataclass(frozen=True)
class Failure:
    """A model that could not be evaluated on a shard, and why."""

    model: str
    cell: Cell
    shard: Shard
    cause: str

    def __str__(self) -> str:
        where = f"{self.cell.dataset} {self.cell.distortion}, images {self.shard}"
        return f"{self.model} failed on {where}: {self.cause}"


def plan(
    models: Iterable[str], cells: Sequence[Cell], store: Store, dataset: Dataset | None = None
) -> list[Work]:
    """Return what is still to be done on one data set, shard by shard so that each is decoded once.

    Args:
        models: by name.
        cells: of the data set.
        store: of the run.
        dataset: whose pictures must be those that predictions were made from, if given.

    Raises:
        RunError: pictures have changed since their predictions were made.
    """
    models = tuple(models)
    shards = store.shards(cells[0].dataset)
    everything = [Work(cell, shard, models) for shard in shards for cell in cells]
    work = each(store.directory, lambda item: _lacking(item, store, dataset), everything)
    return [item for item in work if item.pending]


def _lacking(item: Work, store: Store, dataset: Dataset | None) -> Work:
    """Return the same for those models alone whose predictions are not there."""
    found = {name: store.content(name, item.cell, item.shard) for name in item.pending}
    if dataset is not None and any(content and content.stamp_sha256 for content in found.values()):
        place = item.cell.distortion, item.shard
        stamp, sources = dataset.stamp(*place), ""
        for name, content in found.items():
            if content is None or content.stamp_sha256 in ("", stamp):
                continue
            # sizes or times have changed: only then is the content read and compared
            sources = sources or dataset.sources(*place)
            if sources != content.sources_sha256:
                raise RunError(
                    f"the pictures of {item.cell}, images {item.shard}, have changed since "
                    f"{store.path(name, item.cell, item.shard)} was made from them; choose another "
                    "--output-dir, or delete that file and others of its age"
                )
    return replace(item, pending=tuple(name for name in found if found[name] is None))


def evaluate(
    work: Iterable[Work],
    dataset: Dataset,
    predictors: Mapping[str, Predictor],
    store: Store,
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress = lambda cell, frames: None,
) -> list[Failure]:
    """Evaluates what `plan` found missing on one data set and commits it shard by shard.

    A shard is written while the next one is begun. Beside a GPU, a batch is read and distorted
    while the one before it goes through the models.

    Args:
        batch_size: frames that are read at once; predictions do not depend on it.
        device: where frames are distorted and where the modules are.

    Returns:
        What could not be evaluated. A model that fails does not keep the others from being
        evaluated, nor images that cannot be read the other cells.
    """
    failures = []
    read = _read(work, dataset, batch_size, device)
    parts = read if device.type in IN_TURN else ahead(read, device)
    with closing(parts), behind() as later:
        for (item, stamp), of_item in groupby(parts, key=itemgetter(0)):
            rows = {name: store.empty_rows(name, item.frames) for name in item.pending}
            batches = (batch for _, batch in of_item)
            content = Digest()
            failures += _fill(rows, item, batches, predictors, content, progress)
            later(_commit, store, item, rows, Content(content.sources, content.frames, stamp))
    return failures


def _read(
    work: Iterable[Work], dataset: Dataset, batch_size: int, device: torch.device
) -> Generator[tuple[tuple[Work, str], Batch | Exception]]:
    """All batches of all work with its files' stamp; an error in place of what cannot be read."""
    for item in work:
        start, stop = item.shard
        stamp = ""
        while start < stop:
            try:
                # before the files are read, so that one which changes meanwhile is read again later
                stamp = stamp or dataset.stamp(item.cell.distortion, item.shard)
                rest = Shard(start, stop)
                for batch in dataset.read(item.cell.distortion, rest, batch_size, device):
                    start += len(batch.index)
                    yield (item, stamp), batch
                if start < stop:
                    missing = f"{stop - start} of {item.shard.stop - item.shard.start} images"
                    raise DatasetError(f"{item.cell.dataset} did not give {missing}")
            except Exception as error:  # a data set may be anybody's code
                if is_out_of_memory(error) and batch_size > 1:
                    batch_size = halved(batch_size, str(item.cell))
                else:
                    yield (item, stamp), error
                    break


def _fill(
    rows: dict[str, dict[str, np.ndarray]],
    item: Work,
    parts: Iterable[Batch | Exception],
    predictors: Mapping[str, Predictor],
    content: Digest,
    progress: Progress,
) -> list[Failure]:
    """Fills the models' columns of predictions; those of models that fail are taken away."""
    failures = []

    def fail(name: str, error: Exception) -> None:
        failures.append(Failure(name, item.cell, item.shard, _told(error)))
        del rows[name]

    done = 0
    for part in parts:
        if isinstance(part, Exception):
            for name in list(rows):
                fail(name, part)
            break
        content.add_batch(part)
        frames = part.frames.shape[0] * part.frames.shape[1]
        for name in list(rows):
            try:
                with stage("forward"):
                    prediction = predictors[name].predict(part, RANKING in rows[name])
            except Exception as error:  # a model may be anybody's code
                fail(name, error)
            else:
                for column, kept in rows[name].items():
                    kept[done : done + frames] = prediction[column]
            progress(item.cell, frames)
        done += frames
    return failures


def _told(error: Exception) -> str:
    """Return what an error says, and its kind where it is not one of ours."""
    if isinstance(error, RobustbenchError) or type(error) in SPEAKING:
        return cause(error)
    kind = type(error).__name__
    return kind if cause(error) == kind else f"{kind}: {cause(error)}"


def _commit(
    store: Store, item: Work, rows: Mapping[str, Mapping[str, np.ndarray]], content: Content
) -> None:
    with stage("commit"):
        for name, columns in rows.items():
            store.commit(name, item.cell, item.shard, columns, content)
