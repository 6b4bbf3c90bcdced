"""The evaluation loop: shards → distortions → batches → classifiers → predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.datasets import Dataset
from robustbench_aa.errors import DatasetError, ModelError, cause
from robustbench_aa.store import RANKING, Cell, Store
from robustbench_aa.types import Batch, Classifier, Shard

CPU_PIXELS = 2**21
"""How many pixels of frames a CPU sends through a model at once: 41 of 224 × 224."""
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


def plan(models: Iterable[str], cells: Sequence[Cell], store: Store) -> list[Work]:
    """What is still to be done on one data set, shard by shard so that each is decoded once."""
    names = tuple(models)
    work = []
    for shard in store.shards(cells[0].dataset):
        for cell in cells:
            pending = tuple(name for name in names if not store.has(name, cell, shard))
            if pending:
                work.append(Work(cell, shard, pending))
    return work


def evaluate(
    work: Iterable[Work],
    dataset: Dataset,
    classifiers: Mapping[str, Classifier],
    store: Store,
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress = lambda cell, frames: None,
) -> list[Failure]:
    """Evaluates what `plan` found missing on one data set and commits it shard by shard.

    Args:
        batch_size: frames that go through a model at once; predictions do not depend on it.
        device: where frames are distorted and where the modules are.

    Returns:
        What could not be evaluated. A model that fails does not keep the others from being
        evaluated, nor images that cannot be read the other cells.
    """
    failures = []
    for item in work:
        rows = {name: store.empty_rows(name, item.frames) for name in item.pending}
        failed = _fill(rows, item, dataset, classifiers, batch_size, device, progress)
        failures += failed
        for name, columns in rows.items():
            store.commit(name, item.cell, item.shard, columns)
    return failures


def _fill(
    rows: dict[str, dict[str, np.ndarray]],
    item: Work,
    dataset: Dataset,
    classifiers: Mapping[str, Classifier],
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> list[Failure]:
    """Fills the models' columns of predictions; those of models that fail are taken away."""
    failures = []

    def fail(name: str, error: Exception) -> None:
        failures.append(Failure(name, item.cell, item.shard, cause(error)))
        del rows[name]

    done = 0
    try:
        for batch in dataset.read(item.cell.distortion, item.shard, batch_size, device):
            frames = batch.frames.shape[0] * batch.frames.shape[1]
            for name in list(rows):
                try:
                    ranked = RANKING in rows[name]
                    prediction = predict(classifiers[name], batch, batch_size, ranked)
                except (ModelError, RuntimeError, ValueError, TypeError) as error:
                    fail(name, error)
                else:
                    for column, kept in rows[name].items():
                        kept[done : done + frames] = prediction[column]
                progress(item.cell, frames)
            done += frames
        if done != item.frames:
            raise DatasetError(f"{item.cell.dataset} gave {done} of {item.frames} frames")
    except DatasetError as error:
        for name in list(rows):
            fail(name, error)
    return failures


@torch.inference_mode()
def predict(
    classifier: Classifier, batch: Batch, batch_size: int, keep_ranking: bool = False
) -> dict[str, np.ndarray]:
    """A classifier's predictions for every frame of a batch, as the columns of a prediction file.

    Raises:
        ModelError: the module returned something other than finite logits [N, classes].
    """
    if batch.frames.device.type == "cpu":  # larger parts would leave its cache
        batch_size = min(batch_size, max(1, CPU_PIXELS // batch.frames[0, 0, 0].numel()))
    parts = batch.frames.flatten(0, 1).split(batch_size)
    logits = torch.cat([_logits(classifier, part) for part in parts])
    return _columns(logits, batch, keep_ranking)


def _columns(logits: Tensor, batch: Batch, keep_ranking: bool) -> dict[str, np.ndarray]:
    images, frames = batch.frames.shape[:2]
    probabilities = logits.softmax(dim=1)
    label = torch.from_numpy(np.repeat(batch.label, frames)).to(logits.device)
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    top5 = torch.full((len(logits), 5), -1, dtype=top.dtype, device=top.device)
    top5[:, : top.shape[1]] = top
    columns = {
        "image": np.repeat(batch.index, frames),
        "frame": np.tile(np.arange(frames), images),
        "label": label.cpu().numpy(),
        **{f"top{rank + 1}": top5[:, rank].cpu().numpy() for rank in range(5)},
        "top1_probability": probabilities.gather(1, top[:, :1]).squeeze(1).cpu().numpy(),
        "label_probability": probabilities.gather(1, label[:, None]).squeeze(1).cpu().numpy(),
    }
    if keep_ranking:
        columns[RANKING] = logits.argsort(dim=1, descending=True).cpu().numpy()
    return columns


def _logits(classifier: Classifier, frames: Tensor) -> Tensor:
    """float32 [N, classes] for uint8 frames [N, 3, H, W]."""
    logits = classifier.module(classifier.preprocessing.normalised(frames))
    expected = (len(frames), classifier.classes)
    if not isinstance(logits, Tensor) or logits.shape != expected:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(f"returned {found} instead of logits of shape {expected}")
    if not logits.isfinite().all():
        raise ModelError("returned logits that are not finite")
    return logits.float()
